//! Session ids of the wrapped server's. A client gets one as `<id>.<MAC>`, where the MAC binds it to
//! the principal, and the server gets its own back: nothing is stored, and an id in other hands is as
//! good as invented (threat case A-094; 2025-11-25, Session Hijacking).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HeaderValue;

use crate::crypto::{Keyring, Purpose};
use crate::gateway::session_id::bound;
use crate::resource::Principal;

/// Longest id of the server's that is passed on, in bytes.
const LONGEST: usize = 1024;

/// The id as `principal` gets it. `None` if the server's is not of visible ASCII (2025-11-25, Session
/// Management 1), or beyond measure.
pub(super) fn wrap(
    keyring: &Keyring,
    principal: &Principal,
    id: &HeaderValue,
) -> Option<HeaderValue> {
    let id = id.as_bytes();
    if id.is_empty() || id.len() > LONGEST || !id.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mac = keyring.mac(Purpose::UpstreamSession, &bound(id, principal));
    let mac = URL_SAFE_NO_PAD.encode(mac);
    HeaderValue::from_bytes(&[id, b".", mac.as_bytes()].concat()).ok()
}

/// The server's id in one that `principal` was given; `None` if it never was.
pub(super) fn unwrap(keyring: &Keyring, principal: &Principal, id: &str) -> Option<HeaderValue> {
    let (id, mac) = id.rsplit_once('.')?;
    let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
    let bound = bound(id.as_bytes(), principal);
    let ours = keyring.verify(Purpose::UpstreamSession, &bound, &mac);
    ours.then(|| HeaderValue::from_str(id).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::proxy::tests::principal;

    fn wrapped(keyring: &Keyring, id: &str) -> Option<String> {
        let id = HeaderValue::from_str(id).unwrap();
        let wrapped = wrap(keyring, &principal("ann", "c1"), &id)?;
        Some(wrapped.to_str().unwrap().to_owned())
    }

    #[test]
    fn a094_an_id_comes_back_from_whom_it_was_given_to_and_from_nobody_else() {
        let keyring = Keyring::ephemeral();
        for id in ["x", "a.b.c", "~!$%&/()=?", &"x".repeat(1024)] {
            let given = wrapped(&keyring, id).unwrap();
            let back = |subject, client| unwrap(&keyring, &principal(subject, client), &given);
            assert_eq!(back("ann", "c1").unwrap(), *id);
            assert_eq!(back("ben", "c1"), None);
            assert_eq!(back("ann", "c2"), None);
            assert_eq!(
                unwrap(&Keyring::ephemeral(), &principal("ann", "c1"), &given),
                None
            );
        }
    }

    #[test]
    fn a094_an_invented_id_is_none() {
        let keyring = Keyring::ephemeral();
        let given = wrapped(&keyring, "abc").unwrap();
        let mac = given.strip_prefix("abc.").unwrap();
        for id in [
            "",
            ".",
            "abc",
            "abc.",
            &format!("abd.{mac}"),
            &format!("abc.{mac}A"),
            mac,
        ] {
            assert_eq!(unwrap(&keyring, &principal("ann", "c1"), id), None, "{id}");
        }
    }

    #[test]
    fn an_id_that_no_client_could_send_back_is_refused() {
        let keyring = Keyring::ephemeral();
        for id in ["", "a b", "a\tb", "caf\u{e9}", &"x".repeat(1025)] {
            assert_eq!(wrapped(&keyring, id), None, "{id:?}");
        }
    }
}
