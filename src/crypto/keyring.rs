//! The guard's own secret keys: one current, older ones kept so that a rotation logs nobody out.
//! Every use derives its own key (HKDF-SHA-256) from the master key and a [`Purpose`], so no key
//! ever serves two ends (design rule D-35).

use std::path::Path;

/// What a sealed blob or a MAC is for. Part of the key derivation: a blob of one purpose never
/// opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The pending authorization request carried by the consent page.
    Authorization,
    /// Proof that a refresh token was once ours, whatever the store remembers.
    RefreshToken,
    /// Binds a session id to its principal.
    Session,
}

/// Cheap to clone; clones share the keys.
#[derive(Clone)]
pub struct Keyring {}

/// Why the keyring could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("cannot read or write {path}")]
    Io {
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} is not a keyring: {what}")]
    Damaged {
        path: std::path::PathBuf,
        what: String,
    },
}

impl Keyring {
    /// Reads the keyring file (mode 0600), or creates it with a fresh key where there is none.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyringError> {
        let _ = path;
        todo!()
    }

    /// A keyring that lives and dies with the process (for `--store memory:`).
    pub fn ephemeral() -> Self {
        todo!()
    }

    /// Encrypts and authenticates `plaintext` together with `associated`; the answer is unpadded
    /// base64url and names its key.
    pub fn seal(&self, purpose: Purpose, associated: &[u8], plaintext: &[u8]) -> String {
        let _ = (purpose, associated, plaintext);
        todo!()
    }

    /// What was sealed, or `None` if a single bit, the purpose or `associated` differs.
    pub fn open(&self, purpose: Purpose, associated: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let _ = (purpose, associated, sealed);
        todo!()
    }

    /// A MAC over `data` by the current key: one byte key id, 16 bytes of HMAC-SHA-256.
    pub fn mac(&self, purpose: Purpose, data: &[u8]) -> [u8; 17] {
        let _ = (purpose, data);
        todo!()
    }

    /// Whether `mac` is ours for `data`, under any key of the ring. Constant time.
    pub fn verify(&self, purpose: Purpose, data: &[u8], mac: &[u8]) -> bool {
        let _ = (purpose, data, mac);
        todo!()
    }
}

/// Seals under a key derived from a 256-bit secret that somebody else will present later (the
/// idempotent rotation of design rule D-05: the pair is sealed under the token it replaces).
pub fn seal_under(secret: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let _ = (secret, plaintext);
    todo!()
}

/// Opens what [`seal_under`] sealed under the same secret.
pub fn open_under(secret: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let _ = (secret, sealed);
    todo!()
}
