//! The text of a refresh token: `mgr_<grant>.<secret>`, where the secret is base64url of the
//! generation (four bytes, big-endian), 32 random bytes and the keyring's MAC over all of it.
//!
//! The MAC tells a token that was once ours from one that somebody made up, without keeping a
//! history: the first, shown too late, is reuse and ends the family; the second is noise (A-076,
//! It is no substitute for the hash in the grant record, which says what is valid now.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::GrantId;
use super::credential::is_base64url;
use crate::crypto::{Keyring, Purpose, random};

const PREFIX: &str = "mgr_";
const GRANT_ID_LEN: usize = 22;
/// Generation and randomness.
const BODY_LEN: usize = 4 + 32;
const MAC_LEN: usize = 17;
/// Of the secret's text.
const SECRET_LEN: usize = ((BODY_LEN + MAC_LEN) * 4).div_ceil(3);

/// A refresh token that this guard issued, whether or not it still is good for anything.
#[derive(Debug)]
pub(super) struct RefreshToken {
    pub(super) grant: GrantId,
    pub(super) generation: u32,
}

impl RefreshToken {
    /// A fresh token's text.
    pub(super) fn mint(keyring: &Keyring, grant: &GrantId, generation: u32) -> String {
        let mut secret = Vec::with_capacity(BODY_LEN + MAC_LEN);
        secret.extend(generation.to_be_bytes());
        secret.extend(random::bytes::<32>());
        let mac = keyring.mac(Purpose::RefreshToken, &authenticated(grant, &secret));
        secret.extend(mac);
        format!("{PREFIX}{}.{}", grant.0, URL_SAFE_NO_PAD.encode(secret))
    }

    /// `None` unless the guard itself wrote this text.
    pub(super) fn parse(keyring: &Keyring, text: &str) -> Option<Self> {
        let (grant, secret) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let well_formed = grant.len() == GRANT_ID_LEN
            && grant.bytes().all(is_base64url)
            && secret.len() <= SECRET_LEN;
        if !well_formed {
            return None;
        }
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        let (body, mac) = secret.split_at_checked(BODY_LEN)?;
        let grant = GrantId(grant.to_owned());
        if !keyring.verify(Purpose::RefreshToken, &authenticated(&grant, body), mac) {
            return None;
        }
        let generation = u32::from_be_bytes(*body.first_chunk()?);
        Some(Self { grant, generation })
    }
}

/// What the MAC covers. A grant's id has a fixed length, so the parts cannot run together.
fn authenticated(grant: &GrantId, body: &[u8]) -> Vec<u8> {
    [grant.0.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> (Keyring, String) {
        let keyring = Keyring::ephemeral();
        let text = RefreshToken::mint(&keyring, &GrantId(random::id()), 7);
        (keyring, text)
    }

    #[test]
    fn a_token_tells_its_grant_and_generation() {
        let keyring = Keyring::ephemeral();
        let grant = GrantId(random::id());
        let text = RefreshToken::mint(&keyring, &grant, 70_000);
        let token = RefreshToken::parse(&keyring, &text).unwrap();
        assert_eq!((token.grant, token.generation), (grant, 70_000));
        assert!(text.bytes().all(|byte| byte == b'.' || is_base64url(byte)));
    }

    #[test]
    fn a_token_of_another_guard_is_not_ours() {
        let (_, text) = token();
        assert!(RefreshToken::parse(&Keyring::ephemeral(), &text).is_none());
    }

    #[test]
    fn a_single_changed_character_makes_a_forgery() {
        let (keyring, text) = token();
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            // Far enough to change a bit even where base64 has spare ones.
            forged[at] = if forged[at] == b'Q' { b'x' } else { b'Q' };
            let forged = String::from_utf8(forged).unwrap();
            assert!(RefreshToken::parse(&keyring, &forged).is_none(), "{at}");
        }
    }

    #[test]
    fn noise_is_refused() {
        let (keyring, text) = token();
        let (grant, secret) = text.split_once('.').unwrap();
        for odd in [
            "",
            "mgr_",
            "mgr_.",
            grant,
            &format!("{grant}."),
            &format!("{grant}.{secret}A"),
            &format!("{grant}.{secret}="),
            &format!("{grant}..{secret}"),
            &format!("{grant}/{secret}"),
            &format!("mgr_../../x.{secret}"),
            &text[..text.len() - 1],
            &format!("mgr_{}", "A".repeat(1 << 20)),
        ] {
            assert!(RefreshToken::parse(&keyring, odd).is_none());
        }
    }
}
