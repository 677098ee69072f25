//! Unpredictable bytes from the operating system's generator: from the kernel itself, for the
//! crypto library first gathers entropy of its own, some 30 ms on each thread that asks.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};

use super::give_up;

/// `N` random bytes.
///
/// Ends the process where the operating system has no randomness to give: there is no honest way
/// to go on, and a panic would be caught as one request's trouble.
pub fn bytes<const N: usize>() -> [u8; N] {
    const { assert!(N <= 256, "getrandom(2) gives up to 256 bytes in one piece") };
    let mut bytes = [0; N];
    match retry_on_intr(|| getrandom(bytes.as_mut_slice(), GetRandomFlags::empty())) {
        Ok(length) if length == N => bytes,
        _ => give_up("random bytes"),
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
