//! Strict `application/x-www-form-urlencoded`, for bodies and queries: a parameter that comes twice
//! is an error (RFC 6749 §3.1, §3.2).

use super::canonical::hex;

/// The decoded parameters, in order. Debug shows their names only: values are passwords and codes.
#[derive(Default, Clone)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

/// What is wrong with a form.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("parameter {0} is repeated")]
    Repeated(String),
    #[error("the form is not valid UTF-8 after decoding")]
    NotUtf8,
    #[error("the form has a malformed percent-encoding")]
    BadEncoding,
}

impl Form {
    /// Decodes; malformed percent-encoding and non-UTF-8 are errors. Repetition is reported by
    /// [`Form::get`], so that unknown parameters may repeat.
    pub fn parse(text: &[u8]) -> Result<Self, FormError> {
        let pairs = text
            .split(|&byte| byte == b'&')
            .filter(|pair| !pair.is_empty())
            .map(decode_pair)
            .collect::<Result<_, _>>()?;
        Ok(Self { pairs })
    }

    /// The value of a parameter; an empty value counts as absent (RFC 6749 §3.1).
    pub fn get(&self, name: &str) -> Result<Option<&str>, FormError> {
        let mut values = self.pairs.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(FormError::Repeated(name.to_owned()));
        }
        Ok(value.filter(|value| !value.is_empty()))
    }
}

impl std::fmt::Debug for Form {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.pairs.iter().map(|(name, _)| name);
        out.write_str("Form ")?;
        out.debug_list().entries(names).finish()
    }
}

fn decode_pair(pair: &[u8]) -> Result<(String, String), FormError> {
    let mut halves = pair.splitn(2, |&byte| byte == b'=');
    let name = decode(halves.next().unwrap_or_default())?;
    let value = decode(halves.next().unwrap_or_default())?;
    Ok((name, value))
}

fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (octet, after) = decode_octet(after).ok_or(FormError::BadEncoding)?;
                rest = after;
                octet
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::NotUtf8)
}

fn decode_octet(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = text else {
        return None;
    };
    Some((hex(*high)? << 4 | hex(*low)?, rest))
}

/// Percent-encodes for a query component: everything but unreserved characters (RFC 3986 §2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(hex_digit(byte >> 4));
            encoded.push(hex_digit(byte & 0xf));
        }
    }
    encoded
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let form =
            Form::parse(b"grant_type=authorization_code&&x=a+b%20c%2Bd&flag&e=&u=%C3%A9&q=a=b")
                .unwrap();
        assert_eq!(form.get("grant_type"), Ok(Some("authorization_code")));
        assert_eq!(form.get("x"), Ok(Some("a b c+d")));
        assert_eq!(form.get("u"), Ok(Some("é")));
        assert_eq!(form.get("q"), Ok(Some("a=b")));
    }

    #[test]
    fn an_empty_parameter_counts_as_absent() {
        let form = Form::parse(b"flag&e=").unwrap();
        assert_eq!(form.get("flag"), Ok(None));
        assert_eq!(form.get("e"), Ok(None));
        assert_eq!(form.get("missing"), Ok(None));
        assert_eq!(Form::parse(b"").unwrap().get(""), Ok(None));
    }

    #[test]
    fn a_repeated_parameter_is_an_error_only_to_who_asks_for_it() {
        let form = Form::parse(b"a=1&b=2&%61=1&b=").unwrap();
        assert_eq!(form.get("a"), Err(FormError::Repeated("a".into())));
        assert_eq!(form.get("b"), Err(FormError::Repeated("b".into())));
        assert_eq!(form.get("c"), Ok(None));
    }

    #[test]
    fn malformed_encodings_are_errors() {
        for text in ["a=%", "a=%2", "a=%zz", "%4=1", "a=%+1"] {
            let error = Form::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, FormError::BadEncoding, "{text}");
        }
        for text in [&b"a=%ff"[..], b"a=\xff", b"%c3=1"] {
            assert_eq!(Form::parse(text).unwrap_err(), FormError::NotUtf8);
        }
    }

    #[test]
    fn debug_output_keeps_values_to_itself() {
        let form = Form::parse(b"user=ann&password=hunter2").unwrap();
        let shown = format!("{form:?}");
        assert!(shown.contains("password") && !shown.contains("hunter2"));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(name in "\\PC{1,20}", value in "\\PC{1,40}") {
            let text = format!("{}={}", encode(&name), encode(&value));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            let form = Form::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(form.get(&name), Ok(Some(value.as_str())));
        }

        #[test]
        fn no_input_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(form) = Form::parse(&text) {
                prop_assert!(form.pairs.len() <= text.len());
            }
        }
    }
}
