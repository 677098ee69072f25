//! Everything that mcp-auth-proxy can be told, and what becomes of it here: one table, from which its
//! command line is read, the notes are written and `docs/from-mcp-auth-proxy.md` is checked.
//!
//! Facts as of its version 2.10.2, besides two options of its first versions that are still met.

use std::borrow::Cow;

/// One thing that it can be told.
#[derive(Debug)]
pub struct Flag {
    /// As on its command line, without the dashes; of what only has a variable, that.
    pub name: &'static str,
    pub short: Option<char>,
    pub is_flag: bool,
    pub variable: &'static str,
    /// What it is there when nobody says.
    pub default: &'static str,
    pub shape: Shape,
    pub becomes: Becomes,
}

/// What it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Switch,
    Text,
    /// Divided by commas.
    List,
    /// Never to be shown.
    Secret,
}

/// What it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Becomes {
    /// The option of this name, with this value.
    Same,
    /// This option, but not always with this value.
    Option {
        name: &'static str,
        how: &'static str,
    },
    /// The server to guard.
    Server,
    /// It has no effect here.
    Nothing(&'static str),
}

const fn flag(name: &'static str, variable: &'static str, shape: Shape) -> Flag {
    Flag {
        name,
        short: None,
        is_flag: true,
        variable,
        default: "",
        shape,
        becomes: Becomes::Same,
    }
}

const fn variable(name: &'static str, shape: Shape) -> Flag {
    Flag {
        is_flag: false,
        ..flag(name, name, shape)
    }
}

impl Flag {
    const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    const fn to(self, name: &'static str, how: &'static str) -> Self {
        Self {
            becomes: Becomes::Option { name, how },
            ..self
        }
    }

    const fn nothing(self, why: &'static str) -> Self {
        Self {
            becomes: Becomes::Nothing(why),
            ..self
        }
    }

    /// How people know it: `--listen`, `MODE`.
    pub fn shown(&self) -> Cow<'static, str> {
        if self.is_flag {
            format!("--{}", self.name).into()
        } else {
            self.variable.into()
        }
    }
}

use Shape::{List, Secret, Switch, Text};

/// All of them, in the order of its documentation.
pub const FLAGS: &[Flag] = &[
    flag("external-url", "EXTERNAL_URL", Text)
        .short('e')
        .or("http://localhost"),
    flag("listen", "LISTEN", Text).or(":80").to(
        "listen",
        "as an address, `[::]:80` for `:80`; where TLS is on, or the URL is loopback, only if it was said",
    ),
    flag("tls-listen", "TLS_LISTEN", Text)
        .or(":443")
        .to("tls-listen", "as an address, `[::]:443` for `:443`"),
    flag("no-auto-tls", "NO_AUTO_TLS", Switch).or("false"),
    flag("tls-host", "TLS_HOST", Text)
        .short('H')
        .to("tls-host", "with the host of the external URL beside it"),
    flag("tls-directory-url", "TLS_DIRECTORY_URL", Text).or("Let's Encrypt"),
    flag("tls-accept-tos", "TLS_ACCEPT_TOS", Switch).or("false"),
    flag("tls-cert-file", "TLS_CERT_FILE", Text),
    flag("tls-key-file", "TLS_KEY_FILE", Text),
    flag("data-path", "DATA_PATH", Text)
        .short('d')
        .or("./data")
        .to("data-path", "a directory `mcp-guard` of its own below it"),
    flag("repository-backend", "REPOSITORY_BACKEND", Text)
        .or("local")
        .nothing("the state is in SQLite in the data path"),
    flag("repository-dsn", "REPOSITORY_DSN", Secret)
        .nothing("the state is in SQLite in the data path"),
    flag("no-provider-auto-select", "NO_PROVIDER_AUTO_SELECT", Switch)
        .or("false")
        .nothing("the consent page is always shown"),
    flag("password", "PASSWORD", Secret),
    flag("password-hash", "PASSWORD_HASH", Secret),
    flag("google-client-id", "GOOGLE_CLIENT_ID", Text),
    flag("google-client-secret", "GOOGLE_CLIENT_SECRET", Secret),
    flag("google-allowed-users", "GOOGLE_ALLOWED_USERS", List),
    flag("google-allowed-workspaces", "GOOGLE_ALLOWED_WORKSPACES", List),
    flag("github-url", "GITHUB_URL", Text),
    flag("github-api-url", "GITHUB_API_URL", Text),
    flag("github-client-id", "GITHUB_CLIENT_ID", Text),
    flag("github-client-secret", "GITHUB_CLIENT_SECRET", Secret),
    flag("github-allowed-users", "GITHUB_ALLOWED_USERS", List),
    flag("github-allowed-orgs", "GITHUB_ALLOWED_ORGS", List),
    flag("oidc-configuration-url", "OIDC_CONFIGURATION_URL", Text),
    flag("oidc-client-id", "OIDC_CLIENT_ID", Text),
    flag("oidc-client-secret", "OIDC_CLIENT_SECRET", Secret),
    flag("oidc-scopes", "OIDC_SCOPES", List).or("openid,profile,email"),
    flag("oidc-user-id-field", "OIDC_USER_ID_FIELD", Text).or("/email"),
    flag("oidc-provider-name", "OIDC_PROVIDER_NAME", Text).or("OIDC"),
    flag("oidc-allowed-users", "OIDC_ALLOWED_USERS", List),
    flag("oidc-allowed-users-glob", "OIDC_ALLOWED_USERS_GLOB", List).to(
        "oidc-allowed-users-glob",
        "`*` alone, which is everybody, becomes `--allow-any-user`; patterns with braces or brackets are refused",
    ),
    flag("oidc-allowed-attributes", "OIDC_ALLOWED_ATTRIBUTES", List)
        .to("oidc-allowed-claims", "the same pairs"),
    flag(
        "oidc-allowed-attributes-glob",
        "OIDC_ALLOWED_ATTRIBUTES_GLOB",
        List,
    )
    .to(
        "oidc-allowed-users-glob",
        "if the pattern is of the claim that names people; without `*` and the like it becomes `--oidc-allowed-claims`; anything else is refused",
    ),
    flag("proxy-bearer-token", "PROXY_BEARER_TOKEN", Secret),
    flag(
        "proxy-forward-authorization",
        "PROXY_FORWARD_AUTHORIZATION",
        Switch,
    )
    .or("false")
    .nothing("the client's token ends here; `--identity-jwt` tells a server who is calling, signed"),
    flag("proxy-headers", "PROXY_HEADERS", Secret),
    flag("header-mapping", "HEADER_MAPPING", List)
        .to("header-mapping", "with pointers that begin at the person's claims"),
    flag("header-mapping-base", "HEADER_MAPPING_BASE", Text)
        .or("/userinfo")
        .to("header-mapping", "it is worked into the pointers"),
    flag("http-streaming-only", "HTTP_STREAMING_ONLY", Switch).or("false"),
    flag("trusted-proxies", "TRUSTED_PROXIES", List),
    variable("AUTH_HMAC_SECRET", Secret)
        .nothing("the guard makes its keys itself and keeps them in the data path"),
    variable("JWT_PRIVATE_KEY", Secret)
        .nothing("the guard makes its keys itself and keeps them in the data path"),
    variable("MODE", Text).to("log-level", "`debug` for `debug`"),
    Flag {
        becomes: Becomes::Server,
        ..flag("proxy-url", "PROXY_URL", Text)
    },
    flag("global-secret", "GLOBAL_SECRET", Secret)
        .nothing("the guard makes its keys itself and keeps them in the data path"),
];

/// The one of that name on its command line.
pub(super) fn by_name(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.is_flag && flag.name == name)
}

/// The one of that letter.
pub(super) fn by_short(letter: char) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.short == Some(letter))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::options;

    #[test]
    fn no_name_and_no_variable_means_two_things() {
        let mut names = HashSet::new();
        let mut variables = HashSet::new();
        for flag in FLAGS {
            assert!(names.insert(flag.name), "{}", flag.name);
            assert!(variables.insert(flag.variable), "{}", flag.variable);
        }
    }

    #[test]
    fn a_variable_is_its_flag_in_upper_snake() {
        for flag in FLAGS.iter().filter(|flag| flag.is_flag) {
            assert_eq!(flag.variable, flag.name.to_uppercase().replace('-', "_"));
        }
    }

    #[test]
    fn what_stays_is_an_option_that_takes_the_same() {
        for flag in FLAGS {
            match flag.becomes {
                Becomes::Same => {
                    let option = options::find(flag.name).unwrap();
                    let is_switch = matches!(option.kind, options::Kind::Switch);
                    assert_eq!(is_switch, flag.shape == Switch, "{}", flag.name);
                    assert!(!option.is_secret() || flag.shape == Secret, "{}", flag.name);
                }
                Becomes::Option { name, .. } => assert!(options::find(name).is_some(), "{name}"),
                Becomes::Server | Becomes::Nothing(_) => {}
            }
        }
    }
}
