//! Session ids: 128 random bits, and a MAC that binds them to the subject and client they were made
//! for (2025-11-25, Session Hijacking). An id in other hands is as good as invented.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::crypto::{Keyring, Purpose, random};
use crate::resource::Principal;

/// Header names are case-insensitive; hyper wants them in lower case.
pub(super) const HEADER: &str = "mcp-session-id";

const RANDOM: usize = 16;

/// A fresh id for `principal`: visible ASCII, 44 characters.
pub(super) fn mint(keyring: &Keyring, principal: &Principal) -> String {
    let random = random::bytes::<RANDOM>();
    let mac = keyring.mac(Purpose::Session, &bound(&random, principal));
    URL_SAFE_NO_PAD.encode([random.as_slice(), &mac].concat())
}

/// Whether `id` was minted for `principal`.
pub(super) fn belongs_to(keyring: &Keyring, id: &str, principal: &Principal) -> bool {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(id) else {
        return false;
    };
    let Some((random, mac)) = bytes.split_at_checked(RANDOM) else {
        return false;
    };
    keyring.verify(Purpose::Session, &bound(random, principal), mac)
}

fn bound(random: &[u8], principal: &Principal) -> Vec<u8> {
    let subject = principal.identity.subject.as_str().as_bytes();
    // The length keeps subject and client from being shifted into one another.
    let length = u32::try_from(subject.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let client = principal.client.0.as_bytes();
    [random, &length, subject, client].concat()
}
