//! The server's side of TLS: which certificate answers which name, and with what settings.
//!
//! `acme` and the files of `--tls-cert-file` put certificates into [`Certificates`]; `listener` makes
//! handshakes with [`server_config`]. Neither knows of the other.

mod certificates;
mod facts;
mod files;
mod key_pair;
mod server;
#[cfg(test)]
pub(crate) use key_pair::testing;

pub use certificates::Certificates;
pub use facts::{Facts, covers};
pub use files::{CertificateFiles, FileCertificate, FilesError, Loaded, Look};
pub use key_pair::{KeyPair, KeyPairError};
pub use server::{ACME_TLS_ALPN, H2_ALPN, server_config};
