//! What handshakes are made with: TLS 1.2 and 1.3 with the library's own suites, which are all AEAD
//! and ECDHE; tickets under keys that rotate; no early data (threat case A-151).

use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{Error, ServerConfig};

use super::Certificates;

/// HTTP/2 (RFC 9113 §3.2).
pub const H2_ALPN: &[u8] = b"h2";
const HTTP1_ALPN: &[u8] = b"http/1.1";
/// Validations of TLS-ALPN-01 (RFC 8737 §6.2).
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The settings of every handshake.
pub fn server_config(certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = [H2_ALPN, HTTP1_ALPN, ACME_TLS_ALPN]
        .map(<[u8]>::to_vec)
        .to_vec();
    // New keys every six hours, the last ones good for six more.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a151_there_is_no_early_data_and_tickets_have_rotating_keys() {
        let config = server_config(Certificates::new()).unwrap();
        assert_eq!(config.max_early_data_size, 0);
        assert!(config.ticketer.enabled());
        assert!(config.ticketer.lifetime() <= 24 * 3600);
    }
}
