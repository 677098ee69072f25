//! The environment of a child: ours minus everything of ours (A-134, C10), or an allow-list.
//!
//! People put the wrapped server's own keys into the environment of the command they start, so by
//! default it is inherited. What configures the guard, or was given to it by systemd, never passes.
//! A child that is one caller's own is told whose.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

use super::{Caller, Settings};

/// What systemd hands to a service about itself.
const OF_THE_SERVICE: &[&str] = &[
    "CREDENTIALS_DIRECTORY",
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "MAINPID",
    "MANAGERPID",
    "SYSTEMD_EXEC_PID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "FDSTORE",
];

const OUR_PREFIXES: &[&str] = &["MCP_GUARD_", "LISTEN_", "WATCHDOG_"];

/// What a program needs to feel at home.
const CLEAN: &[&str] = &[
    "PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM",
];

/// The caller's subject, and e-mail address if it is known. Ours to set: neither `--env` nor the
/// guard's own environment has a say.
const USER: &str = "MCP_GUARD_USER";
const EMAIL: &str = "MCP_GUARD_EMAIL";

/// `--env` names a member of `user` that there is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{{user.{0}}}` is not known; there are `{{user.subject}}`, `{{user.login}}`, \
     `{{user.email}}` and `{{user.groups}}`"
)]
pub struct UnknownPlaceholder(pub String);

/// Whether the guard keeps a variable of this name from its children, `--pass-env` or not.
pub fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        OF_THE_SERVICE.contains(&name) || OUR_PREFIXES.iter().any(|ours| name.starts_with(ours))
    })
}

/// Whether a value of `--env` depends on who is calling, which a child for everybody cannot have.
pub fn uses_identity(value: &str) -> bool {
    parts(value).any(|part| matches!(part, Part::User(_)))
}

/// Checks the `{user.…}` in a value of `--env`. Any other brace is only a brace.
pub fn check_placeholders(value: &str) -> Result<(), UnknownPlaceholder> {
    let unknown = parts(value).find_map(|part| match part {
        Part::User(name) if !matches!(name, "subject" | "login" | "email" | "groups") => Some(name),
        _ => None,
    });
    unknown.map_or(Ok(()), |name| Err(UnknownPlaceholder(name.to_owned())))
}

/// What every child of one command gets, and what depends on the caller.
pub(super) struct Environment {
    base: Vec<(OsString, OsString)>,
    added: Vec<(String, String)>,
}

impl Environment {
    /// `ours` is the guard's own environment.
    pub(super) fn new(
        settings: &Settings,
        ours: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        let passes = |name: &OsStr| {
            let listed = || is_clean(name) || settings.pass_env.iter().any(|pass| name == &**pass);
            !is_ours(name) && (!settings.clean_env || listed())
        };
        Self {
            base: ours.filter(|(name, _)| passes(name)).collect(),
            added: settings.env.clone(),
        }
    }

    /// The variables for a child of this caller, or of nobody in particular. Later ones replace
    /// earlier ones of the same name.
    pub(super) fn variables(
        &self,
        caller: Option<&Caller>,
    ) -> impl Iterator<Item = (OsString, OsString)> {
        let added = self.added.iter().map(move |(name, value)| {
            let value = filled(value, caller);
            (OsString::from(name), OsString::from(value))
        });
        self.base
            .iter()
            .cloned()
            .chain(added)
            .chain(caller.into_iter().flat_map(told))
    }
}

fn told(caller: &Caller) -> impl Iterator<Item = (OsString, OsString)> {
    let user = Some((USER, &caller.subject));
    let email = caller.email.as_ref().map(|email| (EMAIL, email));
    user.into_iter()
        .chain(email)
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
}

fn is_clean(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| CLEAN.contains(&name) || name.starts_with("LC_"))
}

/// In one pass: what a login holds is never taken for a placeholder.
fn filled(value: &str, caller: Option<&Caller>) -> String {
    parts(value)
        .map(|part| match part {
            Part::Text(text) => Cow::Borrowed(text),
            Part::User(name) => caller.map_or(Cow::Borrowed(""), |caller| member(caller, name)),
        })
        .collect()
}

fn member<'a>(caller: &'a Caller, name: &str) -> Cow<'a, str> {
    match name {
        "subject" => Cow::Borrowed(&caller.subject),
        "login" => Cow::Borrowed(&caller.login),
        "email" => Cow::Borrowed(caller.email.as_deref().unwrap_or("")),
        "groups" => Cow::Owned(joined(&caller.groups)),
        _ => Cow::Borrowed(""),
    }
}

/// With commas between them. A group whose name holds one would read as two, and is left out.
fn joined(groups: &[String]) -> String {
    let plain: Vec<_> = groups
        .iter()
        .map(String::as_str)
        .filter(|group| !group.contains(','))
        .collect();
    plain.join(",")
}

enum Part<'a> {
    Text(&'a str),
    /// The name in `{user.name}`.
    User(&'a str),
}

fn parts(value: &str) -> impl Iterator<Item = Part<'_>> {
    const OPEN: &str = "{user.";
    let mut rest = value;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let closed = rest
            .strip_prefix(OPEN)
            .and_then(|rest| rest.split_once('}'))
            .filter(|(name, _)| name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if let Some((name, behind)) = closed {
            rest = behind;
            return Some(Part::User(name));
        }
        // An opening that nothing closes is text, like every other brace.
        let from = usize::from(rest.starts_with(OPEN));
        let next = rest.get(from..).and_then(|tail| tail.find(OPEN));
        let (text, behind) = rest.split_at(next.map_or(rest.len(), |at| at + from));
        rest = behind;
        Some(Part::Text(text))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::super::tests::settings;
    use super::*;

    fn ada() -> Caller {
        Caller {
            subject: "local:ada".into(),
            login: "ada".into(),
            email: Some("ada@example.com".into()),
            groups: vec!["acme".into(), "a,admin".into(), "acme:platform".into()],
        }
    }

    fn environment(settings: &Settings, ours: &[(&str, &str)]) -> HashMap<String, String> {
        environment_of(Some(&ada()), settings, ours)
    }

    fn environment_of(
        caller: Option<&Caller>,
        settings: &Settings,
        ours: &[(&str, &str)],
    ) -> HashMap<String, String> {
        let ours = ours.iter().map(|(name, value)| (name.into(), value.into()));
        Environment::new(settings, ours)
            .variables(caller)
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect()
    }

    const OURS: &[(&str, &str)] = &[
        ("PATH", "/bin"),
        ("LC_ALL", "C"),
        ("API_KEY", "k"),
        ("MCP_GUARD_PASSWORD", "canary"),
        ("MCP_GUARD_STORE", "canary"),
        ("CREDENTIALS_DIRECTORY", "canary"),
        ("NOTIFY_SOCKET", "canary"),
        ("LISTEN_FDS", "canary"),
        ("WATCHDOG_USEC", "canary"),
        ("STATE_DIRECTORY", "canary"),
    ];

    #[test]
    fn a134_what_is_ours_never_passes() {
        let mut settings = settings(&["true"]);
        settings.pass_env = vec!["MCP_GUARD_PASSWORD".into(), "NOTIFY_SOCKET".into()];
        for clean in [false, true] {
            settings.clean_env = clean;
            let found = environment(&settings, OURS);
            assert!(!found.values().any(|value| value == "canary"), "{found:?}");
            assert_eq!(found["PATH"], "/bin");
            assert_eq!(found["LC_ALL"], "C");
            assert_eq!(found.contains_key("API_KEY"), !clean);
        }
    }

    #[test]
    fn a_clean_environment_has_what_is_passed_by_name() {
        let mut settings = settings(&["true"]);
        settings.clean_env = true;
        settings.pass_env = vec!["API_KEY".into()];
        assert_eq!(environment(&settings, OURS)["API_KEY"], "k");
    }

    #[test]
    fn the_caller_is_filled_in_and_other_braces_stay() {
        let mut settings = settings(&["true"]);
        let value = "{user.login}/{user.email}:{user.subject} {x} {user. {}";
        settings.env = vec![("WHO".into(), value.into()), ("PATH".into(), "/opt".into())];
        let found = environment(&settings, OURS);
        assert_eq!(found["WHO"], "ada/ada@example.com:local:ada {x} {user. {}");
        assert_eq!(found["PATH"], "/opt");
    }

    #[test]
    fn groups_are_joined_and_none_reads_as_two() {
        assert_eq!(filled("{user.groups}", Some(&ada())), "acme,acme:platform");
        assert_eq!(filled("<{user.groups}>", None), "<>");
    }

    #[test]
    fn a134_a_child_of_ones_own_is_told_whose_and_by_nobody_else() {
        let ours = [("MCP_GUARD_USER", "canary"), ("MCP_GUARD_EMAIL", "canary")];
        let mut settings = settings(&["true"]);
        settings.clean_env = true;
        let found = environment(&settings, &ours);
        assert_eq!(found["MCP_GUARD_USER"], "local:ada");
        assert_eq!(found["MCP_GUARD_EMAIL"], "ada@example.com");
        let unknown = Caller {
            email: None,
            ..ada()
        };
        let found = environment_of(Some(&unknown), &settings, &ours);
        assert!(!found.contains_key("MCP_GUARD_EMAIL"), "{found:?}");
        assert_eq!(environment_of(None, &settings, &ours), HashMap::new());
    }

    #[test]
    fn what_a_caller_is_called_is_not_filled_in_again() {
        let mut caller = ada();
        caller.login = "{user.email}".into();
        assert_eq!(filled("{user.login}", Some(&caller)), "{user.email}");
        caller.email = None;
        assert_eq!(filled("<{user.email}>", Some(&caller)), "<>");
        assert_eq!(filled("<{user.login}>", None), "<>");
    }

    #[test]
    fn an_unknown_member_is_named() {
        let error = check_placeholders("a{user.name}b").unwrap_err();
        assert_eq!(error, UnknownPlaceholder("name".into()));
        assert!(error.to_string().starts_with("`{user.name}` is not known"));
        assert_eq!(check_placeholders("{user.email}{}{user.x"), Ok(()));
        assert!(uses_identity("x{user.email}"));
        assert!(!uses_identity("{user.x"));
    }

    proptest! {
        #[test]
        fn a_value_without_placeholders_stays_as_it_is(value in "[a-z{}. $\"é]*") {
            prop_assume!(!uses_identity(&value));
            prop_assert_eq!(filled(&value, Some(&ada())), value);
        }
    }
}
