//! AES-256-GCM with a random nonce in front: the one form in which anything sealed leaves the
//! process.
//!
//! Random 96-bit nonces are safe up to 2³² seals under one key (NIST SP 800-38D §8.3); the blobs
//! are pending authorizations and rotated token pairs, a few a second at the very most.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

use super::{give_up, random};

/// Sets the keys of [`seal_under`] apart from any other use of the same secret (D-35).
const UNDER_SECRET: &[u8] = b"mcp-guard seal under secret v1";

/// Seals under a key derived from a 256-bit secret that somebody else will present later (the
/// idempotent rotation of design rule D-05: the pair is sealed under the token it replaces).
pub fn seal_under(secret: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    under(secret).seal(&mut sealed, &[], plaintext);
    sealed
}

/// Opens what [`seal_under`] sealed under the same secret.
pub fn open_under(secret: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    under(secret).open(&[], sealed)
}

fn under(secret: &[u8]) -> SealingKey {
    SealingKey::derive(&Salt::new(HKDF_SHA256, UNDER_SECRET).extract(secret), &[])
}

/// A key ready for use; deriving it costs more than using it.
pub(super) struct SealingKey(LessSafeKey);

impl SealingKey {
    /// HKDF-SHA-256 expansion (RFC 5869 §2.3) of `prk` for the use named by `info`.
    pub(super) fn derive(prk: &Prk, info: &[u8]) -> Self {
        match prk.expand(&[info], &AES_256_GCM) {
            Ok(key) => Self(LessSafeKey::new(UnboundKey::from(key))),
            Err(_) => give_up("key derivation"),
        }
    }

    /// Appends nonce, ciphertext and tag to `out`.
    pub(super) fn seal(&self, out: &mut Vec<u8>, associated: &[u8], plaintext: &[u8]) {
        let nonce = random::bytes::<NONCE_LEN>();
        let mut ciphertext = Zeroizing::new(plaintext.to_vec());
        let tag = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            &mut ciphertext,
        );
        let Ok(tag) = tag else { give_up("sealing") };
        out.reserve(NONCE_LEN + ciphertext.len() + tag.as_ref().len());
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&ciphertext);
        out.extend_from_slice(tag.as_ref());
    }

    /// What [`Self::seal`] appended, or `None` if anything differs.
    pub(super) fn open(&self, associated: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut plaintext = ciphertext.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self
            .0
            .open_in_place(nonce, Aad::from(associated), &mut plaintext);
        let length = opened.ok()?.len();
        plaintext.truncate(length);
        Some(plaintext)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sealing_twice_shows_nothing_in_common() {
        assert_ne!(
            seal_under(b"secret", b"pair"),
            seal_under(b"secret", b"pair")
        );
    }

    #[test]
    fn another_secret_opens_nothing() {
        let sealed = seal_under(b"secret", b"pair");
        assert_eq!(
            open_under(b"secret", &sealed).as_deref(),
            Some(&b"pair"[..])
        );
        assert_eq!(open_under(b"secreu", &sealed), None);
    }

    proptest! {
        #[test]
        fn no_flipped_bit_goes_unnoticed(plaintext in prop::collection::vec(any::<u8>(), 0..40), at: prop::sample::Index, bit in 0..8) {
            let mut sealed = seal_under(b"secret", &plaintext);
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert_eq!(open_under(b"secret", &sealed), None);
        }

        #[test]
        fn junk_is_refused_without_a_panic(junk in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(open_under(b"secret", &junk), None);
        }
    }
}
