//! Proof Key for Code Exchange (RFC 7636), S256 only: `plain` and no challenge at all are refused
//! for every client (OAuth 2.1 §4.1.1).

use serde::{Deserialize, Serialize};

/// An S256 challenge: 43 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// From the parameters of an authorization request; the error is for the client's developer.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, &'static str> {
        let _ = (challenge, method);
        todo!()
    }

    /// Whether `verifier` (43–128 unreserved characters) hashes to this challenge. Constant time.
    pub fn matches(&self, verifier: &str) -> bool {
        let _ = (verifier, &self.0);
        todo!()
    }
}
