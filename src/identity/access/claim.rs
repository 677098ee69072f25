//! `--oidc-allowed-claims`: what must be said of a person for them to come in.

use serde_json::Value;

use super::pointer;

/// `/groups=admin`: the claim is this string, or an array that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// RFC 6901, as written in the setting.
    pub pointer: String,
    pub value: String,
}

impl ClaimRule {
    /// A conjunction: `/groups=admin+/dept=x`. The error says what is wrong.
    ///
    /// The pointer ends at the first `=`; further ones belong to the value, and so does a `+` that
    /// is not followed by `/`. In a value as in a pointer, `~1` is a `/` and `~0` a `~`: whoever
    /// needs `+/` in a value writes `+~1`.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut parts = text.split("+/");
        let first = parts.next().unwrap_or_default().to_owned();
        let rest = parts.map(|part| format!("/{part}"));
        std::iter::once(first)
            .chain(rest)
            .map(|part| Self::parse(&part))
            .collect()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .filter(|(_, value)| !value.is_empty())
            .ok_or_else(|| {
                format!("{text:?} is no claim with its value; write `/groups=admin` (`+/` in a value as `+~1`)")
            })?;
        // A value is escaped like a pointer without its slash.
        pointer(&format!("/{value}"))?;
        Ok(Self {
            pointer: pointer(path)?,
            value: value.replace("~1", "/").replace("~0", "~"),
        })
    }

    /// Whether a claim is, or holds, the value. Only strings are: `true` is not `"true"`.
    pub(super) fn is_held_by(&self, claim: Option<&Value>) -> bool {
        let is_it = |value: &Value| value.as_str() == Some(&self.value);
        match claim {
            Some(Value::Array(values)) => values.iter().any(is_it),
            Some(value) => is_it(value),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        ClaimRule::parse_all(text)
            .unwrap()
            .into_iter()
            .map(|rule| (rule.pointer, rule.value))
            .collect()
    }

    #[test]
    fn a_conjunction_is_parted_at_plus_slash_only() {
        for (text, expected) in [
            ("/groups=admin", vec![("/groups", "admin")]),
            (
                "/groups=admin+/dept=x",
                vec![("/groups", "admin"), ("/dept", "x")],
            ),
            ("/lang=c++", vec![("/lang", "c++")]),
            ("/lang=c+++/a=1+1", vec![("/lang", "c++"), ("/a", "1+1")]),
            ("/dn=cn=admins", vec![("/dn", "cn=admins")]),
            ("/path=/staff/admins", vec![("/path", "/staff/admins")]),
            ("/path=a+~1b~0", vec![("/path", "a+/b~")]),
            ("/group=CORP\\admins", vec![("/group", "CORP\\admins")]),
            ("/realm_access/roles=a", vec![("/realm_access/roles", "a")]),
            (
                "/https:~1~1x.test~1roles=a",
                vec![("/https:~1~1x.test~1roles", "a")],
            ),
        ] {
            let expected: Vec<(String, String)> = expected
                .into_iter()
                .map(|(pointer, value)| (pointer.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_rule_without_pointer_or_value_is_refused() {
        for text in [
            "",
            "/",
            "groups=admin",
            "/groups",
            "/groups=",
            "=admin",
            "/=admin",
            "/groups=admin+/",
            "/groups=admin+/dept",
            "+/groups=admin",
            "/a~2=x",
            "/a=~x",
        ] {
            assert!(ClaimRule::parse_all(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_string_or_an_array_of_strings_holds_the_value_and_nothing_else_does() {
        let held = |text: &str, claim: Option<Value>| {
            let rules = ClaimRule::parse_all(text).unwrap();
            rules.iter().all(|rule| rule.is_held_by(claim.as_ref()))
        };
        for (claim, expected) in [
            (json!("admin"), true),
            (json!(["user", "admin"]), true),
            (json!("administrator"), false),
            (json!("Admin"), false),
            (json!("user admin"), false),
            (json!(["administrator"]), false),
            (json!([["admin"]]), false),
            (json!({"admin": true}), false),
            (json!([]), false),
            (json!(null), false),
            (json!(true), false),
        ] {
            assert_eq!(
                held("/groups=admin", Some(claim.clone())),
                expected,
                "{claim}"
            );
        }
        assert!(!held("/groups=admin", None));
        assert!(!held("/admin=true", Some(json!(true))));
        assert!(!held("/level=1", Some(json!(1))));
    }
}
