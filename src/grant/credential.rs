//! What codes and access tokens look like: a prefix that secret scanners know, and 256 random bits
//! in unpadded base64url. The shape is checked before any hash or lookup, so that JWTs, other
//! people's tokens and a megabyte of noise cost nothing.

use crate::crypto::random;

pub(super) const ACCESS_TOKEN: &str = "mga_";
pub(super) const CODE: &str = "mgc_";

/// 256 bits in base64url.
const SECRET_LEN: usize = 43;

/// A fresh credential of this kind.
pub(super) fn fresh(prefix: &str) -> String {
    format!("{prefix}{}", random::secret())
}

/// Whether `text` could be a credential of this kind.
pub(super) fn is_well_formed(prefix: &str, text: &[u8]) -> bool {
    let secret = text.strip_prefix(prefix.as_bytes());
    let secret = secret.and_then(|secret| <&[u8; SECRET_LEN]>::try_from(secret).ok());
    // Without a stop at the first that is wrong, many bytes can be looked at together.
    secret.is_some_and(|secret| {
        secret
            .iter()
            .fold(true, |all, &byte| all & is_base64url(byte))
    })
}

#[expect(
    clippy::needless_bitwise_bool,
    reason = "a branch would keep bytes from being looked at together"
)]
pub(super) const fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_uppercase()
        | byte.is_ascii_lowercase()
        | byte.is_ascii_digit()
        | (byte == b'-')
        | (byte == b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a083_ten_thousand_credentials_are_well_formed_and_never_repeat() {
        let all: HashSet<String> = (0..10_000).map(|_| fresh(ACCESS_TOKEN)).collect();
        assert_eq!(all.len(), 10_000);
        assert!(
            all.iter()
                .all(|token| is_well_formed(ACCESS_TOKEN, token.as_bytes()))
        );
    }

    #[test]
    fn a090_anything_else_is_not_even_hashed() {
        let token = fresh(ACCESS_TOKEN);
        for odd in [
            "",
            "mga_",
            "eyJhbGciOiJub25lIn0.e30.",
            &token.replace("mga_", "mgr_"),
            &token[..46],
            &format!("{token}a"),
            &format!("{}+", &token[..46]),
            &format!("{}\0", &token[..46]),
            &"a".repeat(1 << 20),
        ] {
            assert!(!is_well_formed(ACCESS_TOKEN, odd.as_bytes()));
        }
    }
}
