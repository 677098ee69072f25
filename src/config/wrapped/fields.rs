//! Header fields that the guard sets on requests to a server: `--proxy-headers` and
//! `--header-mapping`.

use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};

use crate::config::{ConfigError, RawConfig};
use crate::http::headers::belongs_to_connection;
use crate::identity::access;

/// `--proxy-headers`. The values may be keys, so errors name the field alone.
pub(super) fn set(raw: &RawConfig) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let Some(setting) = raw.setting("proxy-headers") else {
        return Ok(Vec::new());
    };
    let mut fields: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for text in setting.elements() {
        let (name, value) = text.split_once(':').ok_or_else(|| {
            setting.refuse(
                "has an element without a name",
                "write `Name:value`; a comma divides, and cannot be part of a value",
            )
        })?;
        let name = field_name(name)
            .map_err(|hint| setting.refuse("names a field that cannot be set", hint))?;
        let value = field_value(value.trim())
            .map_err(|hint| setting.refuse(format_args!("{name} cannot be sent"), hint))?;
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(setting.refuse(format_args!("sets {name} twice"), "keep one of the two"));
        }
        fields.push((name, value));
    }
    Ok(fields)
}

/// `--header-mapping`: pointers to claims, and the fields that carry them.
pub(super) fn mapping(raw: &RawConfig) -> Result<Vec<(String, HeaderName)>, ConfigError> {
    raw.list("header-mapping", |text| {
        // A pointer may hold colons; a field's name cannot.
        let (pointer, name) = text
            .rsplit_once(':')
            .ok_or("write `/claim:Header`: a JSON pointer and a header's name")?;
        Ok((access::pointer(pointer)?, field_name(name)?))
    })
}

/// A field has one value, and so one source.
pub(super) fn refuse_two_sources(
    raw: &RawConfig,
    headers: &[(HeaderName, HeaderValue)],
    mapping: &[(String, HeaderName)],
) -> Result<(), ConfigError> {
    let mut taken: Vec<&HeaderName> = headers.iter().map(|(name, _)| name).collect();
    if raw.secret("proxy-bearer-token").is_some() {
        if taken.contains(&&AUTHORIZATION) {
            return Err(ConfigError::refused(
                "--proxy-bearer-token and --proxy-headers both set authorization",
            )
            .hint("keep one of the two"));
        }
        taken.push(&AUTHORIZATION);
    }
    for (_, name) in mapping {
        if taken.contains(&name) {
            return Err(ConfigError::refused(format!(
                "--header-mapping sets {name}, which is set already"
            ))
            .hint("use another header, or map one claim to it"));
        }
        taken.push(name);
    }
    Ok(())
}

fn field_name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.trim().as_bytes())
        .map_err(|_| "a header's name is letters, digits and dashes")?;
    if belongs_to_connection(&name) || name == HOST {
        return Err(format!(
            "{name} belongs to the connection, and is not to be set"
        ));
    }
    Ok(name)
}

fn field_value(text: &str) -> Result<HeaderValue, String> {
    if text.is_empty() {
        return Err("its value is empty; give it one, or leave it out".into());
    }
    let mut value = HeaderValue::from_str(text)
        .ok()
        .filter(|_| text.is_ascii())
        .ok_or("a header's value is printable ASCII")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&'static str, &'static str)]) -> RawConfig {
        RawConfig::from_pairs(pairs.iter().copied(), []).unwrap()
    }

    #[test]
    fn fields_are_read_with_whatever_is_behind_the_first_colon() {
        let raw = raw(&[("proxy-headers", "X-A: b:c ,X-D:e")]);
        let fields = set(&raw).unwrap();
        let texts: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(texts, [("x-a", "b:c"), ("x-d", "e")]);
    }

    #[test]
    fn a154_a_field_that_cannot_be_set_is_refused_without_its_value() {
        for text in [
            "canary",
            "X-A:",
            "X A:canary",
            ":canary",
            "X-A:canary\u{7f}",
            "X-A:canaryé",
            "Host:canary",
            "Content-Length:canary",
            "Connection:canary",
            "Transfer-Encoding:canary",
            "TE:canary",
            "Upgrade:canary",
            "Proxy-Authorization:canary",
            "X-A:canary,x-a:canary",
        ] {
            let error = set(&raw(&[("proxy-headers", text)])).unwrap_err();
            let said = format!("{error} {}", error.hint_text().unwrap());
            assert!(said.starts_with("--proxy-headers "), "{said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn a_mapping_is_a_pointer_and_a_field() {
        let raw = raw(&[("header-mapping", "/email:X-Mail,/https:~1~1x.test:X-Y")]);
        let found = mapping(&raw).unwrap();
        assert_eq!(found[0], ("/email".into(), "x-mail".parse().unwrap()));
        assert_eq!(
            found[1],
            ("/https:~1~1x.test".into(), "x-y".parse().unwrap())
        );
    }

    #[test]
    fn a_mapping_without_a_pointer_or_a_field_is_refused() {
        for text in [
            "email:X-Mail",
            "/email",
            "/email:",
            "/:X-A",
            "/email:Host",
            "/email:X A",
        ] {
            let error = mapping(&raw(&[("header-mapping", text)])).unwrap_err();
            assert!(error.to_string().starts_with("--header-mapping"), "{text}");
            assert!(error.hint_text().is_some(), "{text}");
        }
    }

    #[test]
    fn a_field_has_one_source() {
        let refused = |pairs: &[(&'static str, &'static str)]| {
            let raw = raw(pairs);
            refuse_two_sources(&raw, &set(&raw).unwrap(), &mapping(&raw).unwrap()).is_err()
        };
        let token = ("proxy-bearer-token", "t");
        assert!(refused(&[token, ("proxy-headers", "Authorization:x")]));
        assert!(refused(&[token, ("header-mapping", "/a:Authorization")]));
        assert!(refused(&[
            ("proxy-headers", "X-A:x"),
            ("header-mapping", "/a:x-a")
        ]));
        assert!(refused(&[("header-mapping", "/a:X-A,/b:X-A")]));
        assert!(!refused(&[
            token,
            ("proxy-headers", "X-A:x"),
            ("header-mapping", "/a:X-B")
        ]));
    }
}
