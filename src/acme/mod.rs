//! Obtains the guard's certificates and renews them (RFC 8555), one for each host.
//!
//! What is promised:
//!
//! * Nothing is ordered for a name that is not configured, and nothing because somebody connects
//!
//! * When the next attempt may be made is written down before each attempt. No number of restarts
//!   makes more of them.
//! * Of several guards with one store, one orders and all use the certificate.
//! * An old certificate serves until there is a new one, past its end if need be.
//! * Keys lie sealed in the store and are never logged.
//!
//! Control of a name is proved by TLS-ALPN-01 or HTTP-01, in turns. What answers HTTP-01 is in the
//! store, where every guard finds it. What answers TLS-ALPN-01 is only in the guard that
//! ordered: several behind one address need port 80 to be open.

mod settings;

use std::sync::Arc;

pub use settings::{Eab, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, NotBase64Url, Settings};

use crate::clock::{Clock, Timestamp};
use crate::crypto::Keyring;
use crate::http::client::HttpClient;
use crate::store::Store;
use crate::tls::Certificates;

/// How it stands with one host's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostState {
    pub host: String,
    /// The end of the certificate that is served; `None` if there is none.
    pub not_after: Option<Timestamp>,
    /// When the next order may be made: for renewal, or because the last one failed.
    pub next_attempt: Option<Timestamp>,
    /// Why there is no newer certificate, and what to do; fit for a log.
    pub last_error: Option<String>,
}

/// Obtains certificates and renews them.
pub struct Acme {
    settings: Settings,
    client: HttpClient,
    store: Store,
    keyring: Keyring,
    clock: Clock,
    certificates: Arc<Certificates>,
}

impl Acme {
    /// Does nothing yet. `client` trusts what signs the CA's own certificate.
    pub fn new(
        settings: Settings,
        client: HttpClient,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        certificates: Arc<Certificates>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            client,
            store,
            keyring,
            clock,
            certificates,
        })
    }

    /// Puts the certificates of earlier runs into use. To be awaited before the listeners serve.
    pub async fn load(&self) {
        todo!()
    }

    /// Keeps all certificates fresh; never ends. Works on whatever runtime it is polled on.
    pub async fn run(self: Arc<Self>) {
        todo!()
    }

    /// What `/.well-known/acme-challenge/<token>` answers with (RFC 8555 §8.3), as
    /// `application/octet-stream`; `None` is a 404. Knows the tokens of every guard with this store
    /// and no others.
    pub async fn key_authorization(&self, token: &str) -> Option<String> {
        todo!()
    }

    /// How it stands, host by host, in the order of the settings.
    pub fn state(&self) -> Vec<HostState> {
        todo!()
    }
}
