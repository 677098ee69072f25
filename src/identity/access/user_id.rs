//! How a person is named in a rule: by what an issuer says of them, an e-mail address or whatever
//! claim the operator chose.

use wildmatch::WildMatch;

use crate::identity::email;

/// Compared whole. E-mail addresses in their normal form, anything else as it is, case included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserId(String);

impl UserId {
    /// For names in settings and for claims alike; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            let address = email::normal(text);
            return address.map(Self).ok_or_else(|| not_an_address(text));
        }
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("{text:?} is nobody's name"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// `*@example.com`, `*.admin`: `*` is any number of characters, `?` is one, and neither is an `@`.
/// Matches the whole name or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct UserGlob {
    /// Before the `@`, or all of it.
    name: WildMatch,
    domain: Option<WildMatch>,
}

impl UserGlob {
    /// The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((local, domain)) = text.split_once('@') else {
            UserId::parse(text)?;
            return Ok(Self {
                name: WildMatch::new(text),
                domain: None,
            });
        };
        let ordinary = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.*?".contains(&byte);
        let domain = match email::normal_domain(domain) {
            Some(domain) => domain,
            None if domain.bytes().all(ordinary) && !domain.is_empty() => {
                domain.to_ascii_lowercase()
            }
            None => return Err(not_an_address(text)),
        };
        if local.is_empty() || local.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(not_an_address(text));
        }
        Ok(Self {
            name: WildMatch::new(&local.to_ascii_lowercase()),
            domain: Some(WildMatch::new(&domain)),
        })
    }

    pub(super) fn matches(&self, user: &UserId) -> bool {
        match (user.0.split_once('@'), &self.domain) {
            (None, None) => self.name.matches(&user.0),
            (Some((local, at)), Some(domain)) => self.name.matches(local) && domain.matches(at),
            _ => false,
        }
    }
}

/// The domain of a Google workspace: `example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace(String);

impl Workspace {
    /// For domains in settings and for the `hd` claim alike; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let domain = email::normal_domain(text);
        domain
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no domain; write one like example.com"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn not_an_address(text: &str) -> String {
    format!("{text:?} is no e-mail address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[test]
    fn addresses_are_compared_without_case_and_other_names_with_it() {
        assert_eq!(user("Alice@Company.com"), user("alice@company.COM"));
        assert_ne!(user("alice@company.com"), user("alice@company.com.evil"));
        assert_ne!(user("Alice"), user("alice"));
        for text in ["", "a@b@c.com", "a@", "a\nb", "a@b.com\n"] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a064_a_glob_fits_the_whole_name_and_no_wildcard_is_an_at() {
        for (glob, name, fits) in [
            ("*@a.com", "x@a.com", true),
            ("*@A.com", "X@a.COM", true),
            ("*@a.com", "x@a.com.evil", false),
            ("*@a.com", "x@evil.a.com", false),
            ("*@a.com", "x@evila.com", false),
            ("x@a.*", "x@a.com", true),
            ("x*", "x@a.com", false),
            ("*", "x@a.com", false),
            ("*a.com", "x@a.com", false),
            ("*@*", "x@a.com", true),
            ("*@*.a.com", "x@b.a.com", true),
            ("*@*.a.com", "x@a.com", false),
            ("?@a.com", "x@a.com", true),
            ("?@a.com", "xy@a.com", false),
            ("a?b", "a-b", true),
            ("*@bücher.example", "x@xn--bcher-kva.example", true),
            ("*.admin", "alice.admin", true),
            ("*.admin", "alice.Admin", false),
            ("*.admin", "alice.admin.x", false),
            ("alice.*", "x.alice.y", false),
        ] {
            let matches = UserGlob::parse(glob).unwrap().matches(&user(name));
            assert_eq!(matches, fits, "{glob} {name}");
        }
    }

    #[test]
    fn a_glob_that_could_fit_nobody_is_refused() {
        for glob in [
            "",
            "@a.com",
            "*@",
            "*@a@b.com",
            "*@a.com\n",
            "*@[a].com",
            "a b@c.com",
            "a\n*",
        ] {
            assert!(UserGlob::parse(glob).is_err(), "{glob:?}");
        }
    }

    #[test]
    fn a060_an_empty_workspace_is_none() {
        for text in ["", " ", ".", "a@b.com", "*.com", "1.2.3.4", "example.com."] {
            assert!(Workspace::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            Workspace::parse("Example.COM").unwrap().as_str(),
            "example.com"
        );
    }
}
