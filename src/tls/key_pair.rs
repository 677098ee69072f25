//! A certificate with its chain and its private key, fit for use.

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::sign::CertifiedKey;

/// Why PEM text is no certificate with its key. Never quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    #[error("there is no certificate")]
    NoCertificate,
    #[error("a certificate cannot be read: {0}")]
    Certificate(String),
    #[error("there is no private key that can be read")]
    NoKey,
    #[error("the private key is of a kind that is not supported")]
    UnknownKey,
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

impl KeyPairError {
    /// Whether it is the key that is at fault, and not the certificate.
    pub fn is_of_key(&self) -> bool {
        match self {
            Self::NoCertificate | Self::Certificate(_) => false,
            Self::NoKey | Self::UnknownKey | Self::Mismatch => true,
        }
    }
}

/// A certificate chain and its private key.
#[derive(Clone)]
pub struct KeyPair {
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

impl KeyPair {
    /// From PEM: the chain, leaf first, and the key (PKCS #8, SEC1 or PKCS #1).
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, KeyPairError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| KeyPairError::Certificate(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| KeyPairError::NoKey)?;
        Self::new(chain, &key)
    }

    /// From DER: the chain, leaf first.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, KeyPairError> {
        if chain.is_empty() {
            return Err(KeyPairError::NoCertificate);
        }
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(|_| KeyPairError::UnknownKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(KeyPairError::Mismatch),
            Err(error) => return Err(KeyPairError::Certificate(error.to_string())),
        }
        Ok(Self {
            certified: Arc::new(certified),
        })
    }

    /// One that nobody trusts, for names that have none: with it a handshake comes to its end, and
    /// probes that do not look at certificates get their answer. Names nobody.
    pub fn stopgap() -> Result<Self, KeyPairError> {
        let made = rcgen::generate_simple_self_signed(["mcp-guard.invalid".to_owned()])
            .map_err(|error| KeyPairError::Certificate(error.to_string()))?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|_| KeyPairError::UnknownKey)?;
        Self::new(vec![made.cert.der().clone()], &key)
    }

    /// A proof for a CA (RFC 8737 §3). That the key belongs to it is not looked at: the library does
    /// not read certificates with a critical extension that it does not know.
    pub fn proof(
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, KeyPairError> {
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(|_| KeyPairError::UnknownKey)?;
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(vec![certificate], key)),
        })
    }

    /// The certificate itself, without its chain.
    pub fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.certified.cert.first()
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::KeyPair;

    /// Chain and key as PEM.
    pub(crate) fn self_signed_pem(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    pub(crate) fn self_signed(name: &str) -> KeyPair {
        let (chain, key) = self_signed_pem(name);
        KeyPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::self_signed_pem;
    use super::*;

    fn error(chain: &str, key: &str) -> KeyPairError {
        KeyPair::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_told() {
        let (chain, key) = self_signed_pem("a.test");
        let (_, other) = self_signed_pem("a.test");
        assert!(KeyPair::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        assert!(matches!(error("", &key), KeyPairError::NoCertificate));
        assert!(matches!(error(&chain, ""), KeyPairError::NoKey));
        assert!(matches!(error(&chain, &chain), KeyPairError::NoKey));
        assert!(matches!(error(&chain, &other), KeyPairError::Mismatch));
        assert!(KeyPair::stopgap().is_ok());
        let damaged = chain.replacen("MII", "!!!", 1);
        assert!(matches!(
            error(&damaged, &key),
            KeyPairError::Certificate(_)
        ));
    }
}
