//! Proofs of control over a name: a file at a well-known address (RFC 8555 §8.3), or a certificate
//! for whoever speaks `acme-tls/1` (RFC 8737).

use std::sync::Arc;

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use super::problem::Failure;
use super::record::Records;
use crate::clock::Clock;
use crate::tls::{Certificates, KeyPair};

/// 128 bits in base64url, the least that a token has (RFC 8555 §8.3).
const SHORTEST_TOKEN: usize = 22;
/// CAs' are of 32 to 43 characters.
const LONGEST_TOKEN: usize = 128;

/// A way to prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "http-01")]
    Http01,
}

impl Kind {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::TlsAlpn01 => Self::Http01,
            Self::Http01 => Self::TlsAlpn01,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        }
    }

    pub(super) const fn of_the_library(self) -> ChallengeType {
        match self {
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Http01 => ChallengeType::Http01,
        }
    }
}

/// Whether it can be a token: nothing else is looked up, or put down, in its name.
pub(super) fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Shows proofs to CAs.
pub(super) struct Prover {
    pub(super) certificates: Arc<Certificates>,
    pub(super) records: Records,
    pub(super) clock: Clock,
}

/// A proof that is on show until it is withdrawn. One that is dropped instead ends too: the
/// certificate at once, the file when its record expires.
#[must_use]
pub(super) enum Proof {
    Certificate {
        certificates: Arc<Certificates>,
        host: String,
    },
    File {
        records: Records,
        token: String,
    },
}

impl Prover {
    pub(super) async fn show(
        &self,
        kind: Kind,
        host: &str,
        token: &str,
        answer: &KeyAuthorization,
    ) -> Result<Proof, Failure> {
        if !is_token(token) {
            return Err(Failure::new("the CA's token is none", "ask the CA"));
        }
        match kind {
            Kind::TlsAlpn01 => {
                let certificate = certificate(host, answer.digest().as_ref())?;
                self.certificates.set_challenge(host, &certificate);
                Ok(Proof::Certificate {
                    certificates: Arc::clone(&self.certificates),
                    host: host.to_owned(),
                })
            }
            Kind::Http01 => {
                let now = self.clock.now();
                self.records
                    .put_challenge(token, answer.as_str(), now)
                    .await?;
                Ok(Proof::File {
                    records: self.records.clone(),
                    token: token.to_owned(),
                })
            }
        }
    }
}

impl Proof {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Certificate { .. } => Kind::TlsAlpn01,
            Self::File { .. } => Kind::Http01,
        }
    }

    /// The CA has seen it.
    pub(super) async fn withdraw(self) {
        if let Self::File { records, token } = &self {
            records.forget_challenge(token).await;
        }
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        if let Self::Certificate { certificates, host } = self {
            certificates.remove_challenge(host);
        }
    }
}

/// What RFC 8737 §3 asks for: self-signed, for this name alone, with the digest in it.
fn certificate(host: &str, digest: &[u8]) -> Result<KeyPair, Failure> {
    made(host, digest).map_err(|error| Failure::new(&error, "please report it"))
}

fn made(host: &str, digest: &[u8]) -> Result<KeyPair, String> {
    let mut parameters =
        CertificateParams::new([host.to_owned()]).map_err(|error| error.to_string())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = rcgen::KeyPair::generate().map_err(|error| error.to_string())?;
    let certificate = parameters
        .self_signed(&key)
        .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    KeyPair::proof(certificate.der().clone(), &key).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use x509_parser::parse_x509_certificate;

    use super::*;

    #[test]
    fn a149_a_token_is_base64url_of_bounded_length() {
        for good in [
            "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA",
            "abcdefghijklmnopqrst_-",
        ] {
            assert!(is_token(good), "{good}");
        }
        for bad in [
            "",
            "short",
            "../../etc/passwd-of-some-length",
            "evaGxfADs6pSRb2LAv9IZf17Dt3jux/account",
            "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ%2e",
            "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ=",
            "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ\u{e9}",
        ] {
            assert!(!is_token(bad), "{bad}");
        }
        assert!(!is_token(&"a".repeat(LONGEST_TOKEN + 1)));
    }

    #[test]
    fn the_proving_certificate_is_what_rfc_8737_asks_for() {
        let pair = certificate("a.test", &[7; 32]).unwrap();
        let leaf = pair.leaf().unwrap();
        let (_, parsed) = parse_x509_certificate(leaf).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 1);
        assert!(names.general_names[0].to_string().contains("a.test"));
        let oid = x509_parser::oid_registry::Oid::from(&[1, 3, 6, 1, 5, 5, 7, 1, 31]).unwrap();
        let extension = parsed.get_extension_unique(&oid).unwrap().unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    }
}
