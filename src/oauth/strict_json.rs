//! JSON from strangers: one object, no member twice, no deep nesting (threat case A-009).
//! `serde_json` alone keeps the last of two equal members, and another parser the first.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may nest, the outermost included.
const MAX_DEPTH: usize = 32;

/// The members of the object that `bytes` is.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| format!("the body is not acceptable JSON: {error}"))?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("the body is not a JSON object".to_owned()),
    }
}

/// Reads one value, with room for `depth` levels.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is repeated"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a009_odd_documents_are_refused() {
        for body in [
            "",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{}x",
            "{} {}",
            "\u{feff}{}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"a":1,}"#,
            "{'a':1}",
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(object(body.as_bytes()).is_err(), "{body}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a009_nesting_ends_at_32_levels() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(object(nested(31).as_bytes()).is_ok());
        assert!(object(nested(32).as_bytes()).is_err());
        assert!(object(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn an_ordinary_object_is_read_as_it_is() {
        let members = object(br#" {"a":[1,-2,0.5,true,null,"x"],"b":{}} "#).unwrap();
        let expected = serde_json::json!({"a": [1, -2, 0.5, true, null, "x"], "b": {}});
        assert_eq!(Value::Object(members), expected);
    }
}
