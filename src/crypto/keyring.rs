//! The guard's own secret keys: one current, older ones kept so that a rotation logs nobody out.
//! Every use derives its own key (HKDF-SHA-256) from the master key and a [`Purpose`], so no key
//! ever serves two ends (design rule D-35). All keys are derived when the ring is loaded; a call
//! only looks one up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::give_up;
use super::key_file::{self, MasterKey};
use super::sealing::SealingKey;

/// Bytes of HMAC-SHA-256 in a MAC: 128 bits, which nobody guesses online.
const MAC_LENGTH: usize = 16;

/// What a sealed blob or a MAC is for. Part of the key derivation: a blob of one purpose never
/// opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Keys of certificates and of the account at the CA, as they lie in the store.
    Acme,
    /// The pending authorization request carried by the consent page.
    Authorization,
    /// Proof that a refresh token was once ours, whatever the store remembers.
    RefreshToken,
    /// Binds a session id to its principal.
    Session,
    /// The keys that assertions about a caller are signed with, while they lie in the store.
    SigningKey,
    /// Binds a wrapped HTTP server's session id to the principal it was given to.
    UpstreamSession,
    /// Binds the address that a wrapped HTTP+SSE server takes a session's messages at to the
    /// principal it was given to.
    UpstreamEndpoint,
}

/// Why the keyring could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("cannot read or write {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a keyring: {what}")]
    Damaged { path: PathBuf, what: String },
    /// Others could have read the keys, or planted them.
    #[error("{path} is not private: {what}")]
    Exposed { path: PathBuf, what: &'static str },
}

impl KeyringError {
    /// What the operator can do; `None` where it is the system that failed.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } => None,
            Self::Damaged { path, .. } => Some(format!(
                "restore {} from a backup; or move it away, and everybody will have to sign in again",
                path.display()
            )),
            Self::Exposed { path, .. } => Some(format!(
                "make it a file of the guard's user alone: chmod 600 '{0}'; if others may have read \
                 or planted it, move it away, and everybody will have to sign in again",
                path.display()
            )),
        }
    }
}

/// Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Keyring {
    /// Those of the current key, and of the older ones.
    keys: Arc<(PurposeKeys, Vec<PurposeKeys>)>,
}

impl Keyring {
    /// Reads the keyring file (mode 0600), or creates it with a fresh key where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyringError> {
        let (current, older) = key_file::load_or_create(path)?;
        Ok(Self::derive(&current, &older))
    }

    /// A keyring that lives and dies with the process (for `--store memory:`).
    pub fn ephemeral() -> Self {
        Self::derive(&MasterKey::fresh(), &[])
    }

    fn derive(current: &MasterKey, older: &[MasterKey]) -> Self {
        let older = older.iter().map(PurposeKeys::derive).collect();
        Self {
            keys: Arc::new((PurposeKeys::derive(current), older)),
        }
    }

    /// Encrypts and authenticates `plaintext` together with `associated`; the answer is unpadded
    /// base64url and names its key.
    pub fn seal(&self, purpose: Purpose, associated: &[u8], plaintext: &[u8]) -> String {
        let current = self.current();
        let mut sealed = vec![current.id];
        current
            .of(purpose)
            .sealing
            .seal(&mut sealed, associated, plaintext);
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What was sealed, or `None` if a single bit, the purpose or `associated` differs.
    pub fn open(&self, purpose: Purpose, associated: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (id, sealed) = sealed.split_first()?;
        self.named(*id)?
            .of(purpose)
            .sealing
            .open(associated, sealed)
    }

    /// A MAC over `data` by the current key: one byte key id, 16 bytes of HMAC-SHA-256.
    pub fn mac(&self, purpose: Purpose, data: &[u8]) -> [u8; 17] {
        let current = self.current();
        let tag = hmac::sign(&current.of(purpose).mac, data);
        let mut mac = [current.id; MAC_LENGTH + 1];
        for (to, from) in mac.iter_mut().skip(1).zip(tag.as_ref()) {
            *to = *from;
        }
        mac
    }

    /// Whether `mac` is ours for `data`, under any key of the ring. Constant time.
    pub fn verify(&self, purpose: Purpose, data: &[u8], mac: &[u8]) -> bool {
        let Some((id, claimed)) = mac.split_first() else {
            return false;
        };
        let Some(keys) = self.named(*id) else {
            return false;
        };
        let tag = hmac::sign(&keys.of(purpose).mac, data);
        let Some(ours) = tag.as_ref().first_chunk::<MAC_LENGTH>() else {
            return false;
        };
        verify_slices_are_equal(ours, claimed).is_ok()
    }

    fn current(&self) -> &PurposeKeys {
        &self.keys.0
    }

    fn named(&self, id: u8) -> Option<&PurposeKeys> {
        let (current, older) = &*self.keys;
        std::iter::once(current)
            .chain(older)
            .find(|keys| keys.id == id)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("current", &self.current().id)
            .finish_non_exhaustive()
    }
}

/// Everything derived from one master key.
struct PurposeKeys {
    id: u8,
    acme: KeyPair,
    authorization: KeyPair,
    refresh_token: KeyPair,
    session: KeyPair,
    signing_key: KeyPair,
    upstream_session: KeyPair,
    upstream_endpoint: KeyPair,
}

/// One purpose's keys. Sealing and MAC are two ends too, so each has its own.
struct KeyPair {
    sealing: SealingKey,
    mac: hmac::Key,
}

impl PurposeKeys {
    fn derive(master: &MasterKey) -> Self {
        let prk = Salt::new(HKDF_SHA256, b"mcp-guard keyring v1").extract(master.bytes());
        Self {
            id: master.id,
            acme: KeyPair::derive(&prk, "acme"),
            authorization: KeyPair::derive(&prk, "authorization"),
            refresh_token: KeyPair::derive(&prk, "refresh token"),
            session: KeyPair::derive(&prk, "session"),
            signing_key: KeyPair::derive(&prk, "signing key"),
            upstream_session: KeyPair::derive(&prk, "upstream session"),
            upstream_endpoint: KeyPair::derive(&prk, "upstream endpoint"),
        }
    }

    fn of(&self, purpose: Purpose) -> &KeyPair {
        match purpose {
            Purpose::Acme => &self.acme,
            Purpose::Authorization => &self.authorization,
            Purpose::RefreshToken => &self.refresh_token,
            Purpose::Session => &self.session,
            Purpose::SigningKey => &self.signing_key,
            Purpose::UpstreamSession => &self.upstream_session,
            Purpose::UpstreamEndpoint => &self.upstream_endpoint,
        }
    }
}

impl KeyPair {
    fn derive(prk: &Prk, purpose: &str) -> Self {
        let info = format!("mac {purpose}");
        let mac = match prk.expand(&[info.as_bytes()], hmac::HMAC_SHA256) {
            Ok(key) => hmac::Key::from(key),
            Err(_) => give_up("key derivation"),
        };
        Self {
            sealing: SealingKey::derive(prk, format!("seal {purpose}").as_bytes()),
            mac,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ALL: [Purpose; 7] = [
        Purpose::Acme,
        Purpose::Authorization,
        Purpose::RefreshToken,
        Purpose::Session,
        Purpose::SigningKey,
        Purpose::UpstreamSession,
        Purpose::UpstreamEndpoint,
    ];

    #[test]
    fn a_sealed_blob_opens_for_its_purpose_and_associated_data_only() {
        let ring = Keyring::ephemeral();
        let sealed = ring.seal(Purpose::Authorization, b"cookie", b"request");
        assert_eq!(
            ring.open(Purpose::Authorization, b"cookie", &sealed)
                .unwrap(),
            b"request"
        );
        assert_eq!(ring.open(Purpose::Session, b"cookie", &sealed), None);
        assert_eq!(ring.open(Purpose::Authorization, b"other", &sealed), None);
        assert_eq!(
            ring.open(Purpose::Authorization, b"cookie", &format!("{sealed}=")),
            None
        );
        assert_eq!(
            Keyring::ephemeral().open(Purpose::Authorization, b"cookie", &sealed),
            None
        );
    }

    #[test]
    fn a_mac_holds_for_its_purpose_and_data_only() {
        let ring = Keyring::ephemeral();
        let mac = ring.mac(Purpose::Session, b"id");
        assert!(ring.verify(Purpose::Session, b"id", &mac));
        assert!(!ring.verify(Purpose::RefreshToken, b"id", &mac));
        assert!(!ring.verify(Purpose::Session, b"ie", &mac));
        assert!(!ring.verify(Purpose::Session, b"id", &mac[..16]));
        assert!(!ring.verify(Purpose::Session, b"id", &[]));
        for at in 0..mac.len() {
            let mut forged = mac;
            forged[at] ^= 1;
            assert!(!ring.verify(Purpose::Session, b"id", &forged));
        }
    }

    #[test]
    fn no_two_purposes_share_a_mac() {
        let ring = Keyring::ephemeral();
        let macs = ALL.map(|purpose| ring.mac(purpose, b"data"));
        assert_eq!(HashSet::from(macs).len(), ALL.len());
    }

    #[test]
    fn a_rotation_logs_nobody_out() {
        let (old, mut new) = (MasterKey::fresh(), MasterKey::fresh());
        new.id = 2;
        let before = Keyring::derive(&old, &[]);
        let sealed = before.seal(Purpose::Authorization, b"", b"request");
        let mac = before.mac(Purpose::RefreshToken, b"token");
        let after = Keyring::derive(&new, &[old]);
        assert_eq!(
            after.open(Purpose::Authorization, b"", &sealed).unwrap(),
            b"request"
        );
        assert!(after.verify(Purpose::RefreshToken, b"token", &mac));
        assert_eq!(after.mac(Purpose::RefreshToken, b"token")[0], 2);
    }

    #[test]
    fn a154_debug_shows_no_key() {
        assert_eq!(
            format!("{:?}", Keyring::ephemeral()),
            "Keyring { current: 1, .. }"
        );
    }
}
