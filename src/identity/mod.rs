//! Who a person is, and how they prove it. Local users now; GitHub, Google and OIDC issuers are to
//! stand beside [`local`].

mod brakes;
pub mod local;
mod password;
mod users_file;

use serde::{Deserialize, Serialize};

/// `local:<name>`, `github:<numeric id>`, `google:<sub>`, `oidc:<issuer>#<sub>`. Never an e-mail and
/// never a login: those can change hands (design rule D-16).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Subject(String);

impl Subject {
    /// The subject of local user `name`.
    pub fn local(name: &str) -> Self {
        Self(format!("local:{name}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known of a person who signed in. Stored with the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub subject: Subject,
    /// What the person calls themselves there; for display and for the wrapped server.
    pub login: String,
    /// Only if the provider vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}
