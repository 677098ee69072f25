//! SHA-256 of a credential. Credentials are 256 random bits, so neither salt nor a slow hash is
//! needed, and comparing hashes leaks nothing about the credential (threat case A-083).

use serde::{Deserialize, Serialize};

/// The SHA-256 digest under which a credential is stored. The credential itself never is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a credential's text.
    pub fn of(credential: &str) -> Self {
        let _ = credential;
        todo!()
    }

    /// The digest in unpadded base64url, for store keys.
    pub fn to_text(self) -> String {
        todo!()
    }

    /// First eight hexadecimal digits, for logs.
    pub fn short(self) -> String {
        todo!()
    }
}
