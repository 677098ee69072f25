//! Session ids: 128 random bits, and a MAC that binds them to the subject and client they were made
//! for (2025-11-25, Session Hijacking). An id in other hands is as good as invented.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderName;

use crate::crypto::{Keyring, Purpose, random};
use crate::resource::Principal;

pub(super) const HEADER: HeaderName = HeaderName::from_static("mcp-session-id");

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

/// The session id in the head of a request that nobody has parsed yet, and that may be cut short.
pub(super) fn named_in(first_bytes: &[u8]) -> Option<&str> {
    let head = first_bytes.utf8_chunks().next()?.valid();
    let fields = head
        .split("\r\n")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let mut fields = fields.filter_map(|line| line.split_once(':'));
    let (_, id) = fields.find(|(name, _)| name.eq_ignore_ascii_case(HEADER.as_str()))?;
    Some(id.trim())
}

/// What a MAC is over that binds `id` to `principal`.
pub(super) fn bound(id: &[u8], principal: &Principal) -> Vec<u8> {
    let subject = principal.identity.subject.as_str().as_bytes();
    // The length keeps subject and client from being shifted into one another; it begins with NUL,
    // so an id of text ends before it.
    let length = u32::try_from(subject.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let client = principal.client.0.as_bytes();
    [id, &length, subject, client].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_a_head_and_nowhere_else() {
        let head = |text: &str| named_in(text.as_bytes()).map(str::to_owned);
        assert_eq!(
            head("POST /mcp HTTP/1.1\r\nMCP-Session-Id: abc\r\n\r\n"),
            Some("abc".into())
        );
        assert_eq!(
            head("POST /mcp HTTP/1.1\r\nHost: a\r\n\r\nmcp-session-id: abc\r\n"),
            None
        );
        assert_eq!(head("mcp-session-id: abc"), None);
        assert_eq!(named_in(b"\xff\r\nmcp-session-id: abc\r\n"), None);
        assert_eq!(
            named_in(b"P / H\r\nmcp-session-id: abc\r\n\r\n\xff"),
            Some("abc")
        );
    }
}
