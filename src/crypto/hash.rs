//! SHA-256 of a credential. Credentials are 256 random bits, so neither salt nor a slow hash is
//! needed, and comparing hashes leaks nothing about the credential (threat case A-083).

use std::fmt;

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::random;

/// The SHA-256 digest under which a credential is stored. The credential itself never is.
///
/// Serialises as [`Self::to_text`]; its `Debug` shows no more than [`Self::short`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TokenHash([u8; 32]);

/// A text that is not the hash of anything.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 digest in base64url")]
pub struct NotAHash;

impl TokenHash {
    /// The hash of a credential's text.
    pub fn of(credential: impl AsRef<[u8]>) -> Self {
        let digest = digest::digest(&digest::SHA256, credential.as_ref());
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The digest in unpadded base64url, for store keys.
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// First eight hexadecimal digits, for logs.
    pub fn short(self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({}…)", self.short())
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hash.to_text()
    }
}

impl TryFrom<String> for TokenHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotAHash)?;
        bytes.try_into().map(Self).map_err(|_| NotAHash)
    }
}

/// Whether two secrets of a person's making are equal. Both are hashed under a key that is fresh
/// for every call, so the time taken tells nothing about either, not even a length.
pub fn same_secret(one: &str, other: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>());
    let one = hmac::sign(&key, one.as_bytes());
    hmac::verify(&key, other.as_bytes(), one.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_only_if_every_byte_is() {
        assert!(same_secret("", ""));
        assert!(same_secret("päss\0word", "päss\0word"));
        assert!(!same_secret("päss\0word", "päss\0"));
        assert!(!same_secret("password", "Password"));
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let hash = TokenHash::of("abc");
        assert_eq!(
            hash.to_text(),
            "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"
        );
        assert_eq!(hash.short(), "ba7816bf");
    }

    #[test]
    fn a154_debug_shows_eight_digits_only() {
        assert_eq!(
            format!("{:?}", TokenHash::of("abc")),
            "TokenHash(ba7816bf…)"
        );
    }

    #[test]
    fn a_hash_survives_json() {
        let hash = TokenHash::of("mga_x");
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(json, format!("\"{}\"", hash.to_text()));
        assert_eq!(serde_json::from_str::<TokenHash>(&json).unwrap(), hash);
        assert!(serde_json::from_str::<TokenHash>("\"c2hvcnQ\"").is_err());
    }
}
