//! Unpredictable bytes from the operating system's generator.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::give_up;

/// `N` random bytes.
///
/// Ends the process where the operating system has no randomness to give: there is no honest way
/// to go on, and a panic would be caught as one request's trouble.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    match rand::fill(&mut bytes) {
        Ok(()) => bytes,
        Err(_) => give_up("random bytes"),
    }
}

/// A fresh identifier of 128 bits: 22 characters of unpadded base64url.
pub fn id() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// A fresh secret of 256 bits: 43 characters of unpadded base64url.
pub fn secret() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a083_ten_thousand_secrets_never_repeat_and_keep_to_their_alphabet() {
        let secrets: HashSet<String> = (0..10_000).map(|_| secret()).collect();
        assert_eq!(secrets.len(), 10_000);
        for secret in secrets {
            assert_eq!(secret.len(), 43);
            assert!(
                secret
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            );
        }
    }

    #[test]
    fn an_id_has_22_characters() {
        assert_eq!(id().len(), 22);
        assert_ne!(id(), id());
    }
}
