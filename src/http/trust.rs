//! Whom outgoing TLS connections trust: the operating system's roots, or Mozilla's where it has
//! none, and those of `--tls-ca-file`.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// Why a file of roots is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("there is no certificate in it")]
    Empty,
    #[error("certificate {number} in it cannot be read: {what}")]
    Unreadable { number: usize, what: String },
    /// The cryptography library offers no TLS version; does not happen with ours.
    #[error("TLS is not available: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS settings for outgoing connections. `extra_roots` is PEM text.
pub fn client_config(extra_roots: Option<&[u8]>) -> Result<ClientConfig, RootsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in extra_roots.map_or_else(|| Ok(Vec::new()), certificates)? {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The certificates in PEM text: at least one, each of which can be a root.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let mut found = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
        let unreadable = |what: String| RootsError::Unreadable { number, what };
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        RootCertStore::empty()
            .add(certificate.clone())
            .map_err(|error| unreadable(error.to_string()))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(RootsError::Empty);
    }
    Ok(found)
}
