//! Who a person is, and how they prove it: local users with a password, or an account at GitHub,
//! Google or any OIDC issuer. Who of them may come in is decided here too ([`access`]).
//!
//! `oauth` sees [`IdentityProviders`]: which ways to sign in there are, where the browser goes, and
//! what comes back with it. The providers' tokens never leave this room.

pub mod access;
mod brakes;
mod code_flow;
mod email;
mod federated;
pub mod github;
pub mod local;
mod login_pin;
pub mod oidc;
mod password;
mod providers;
#[cfg(test)]
pub(crate) mod testing;
mod users_file;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use access::Refusal;
pub use providers::{Callback, Departure, Handshake, IdentityProviders, SignInError};

use local::LocalUser;

/// A place where people prove who they are, outside the guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    GitHub,
    Google,
    Oidc,
}

impl ProviderKind {
    /// As in the callback's path and in forms.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Google => "google",
            Self::Oidc => "oidc",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        [Self::GitHub, Self::Google, Self::Oidc]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// All ways to sign in. Never without any.
#[derive(Clone, Default)]
pub struct Settings {
    pub local: Vec<LocalUser>,
    pub github: Option<github::Settings>,
    pub google: Option<oidc::Settings>,
    pub oidc: Option<oidc::Settings>,
}

/// `local:<name>`, `github:<numeric id>`, `google:<sub>`, `oidc:<issuer>#<sub>`. Never an e-mail and
/// never a login: those can change hands (design rule D-16; threat cases ).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// The subject of local user `name`.
    pub fn local(name: &str) -> Self {
        Self(format!("local:{name}"))
    }

    /// The subject of a GitHub account. Accounts of a GitHub Enterprise Server are numbered anew, so
    /// its host is part of theirs: `github:ghe.example.com/7`.
    pub fn github(host: Option<&str>, id: u64) -> Self {
        match host {
            None => Self(format!("github:{id}")),
            Some(host) => Self(format!("github:{host}/{id}")),
        }
    }

    /// The subject of a Google account.
    pub fn google(sub: &str) -> Self {
        Self(format!("google:{sub}"))
    }

    /// The subject of an account at an OIDC issuer.
    pub fn oidc(issuer: &str, sub: &str) -> Self {
        Self(format!("oidc:{issuer}#{sub}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the person signed in; `None`: here, with a password.
    pub fn provider(&self) -> Option<ProviderKind> {
        ProviderKind::parse(self.0.split_once(':')?.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of a person who signed in. Stored with the grant, so that the rules can be looked
/// at again at every refresh; the provider's tokens are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub subject: Subject,
    /// What the person calls themselves there; for display and for the wrapped server.
    pub login: String,
    /// Only if the provider vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// GitHub: the configured `org` and `org:team` of which the person is an active member, in lower
    /// case. OIDC: the strings of the `groups` claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The claims that a rule or a header mapping names, by JSON pointer (RFC 6901); those that the
    /// person does not have are absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Value>,
}

impl Identity {
    /// Local user `name`, of whom no more is known.
    pub fn local(name: &str) -> Self {
        Self {
            subject: Subject::local(name),
            login: name.to_owned(),
            email: None,
            groups: Vec::new(),
            claims: BTreeMap::new(),
        }
    }
}
