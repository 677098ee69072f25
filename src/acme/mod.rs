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

mod account;
mod certificate;
mod challenge;
mod client;
mod lease;
mod order;
mod problem;
mod record;
mod renewal;
mod renewal_info;
mod report;
mod schedule;
mod settings;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

pub use settings::{Eab, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, NotBase64Url, Settings};

use self::account::Accounts;
use self::challenge::is_token;
use self::record::{CertificateRecord, Records};
use crate::clock::{Clock, Timestamp};
use crate::crypto::Keyring;
use crate::http::client::HttpClient;
use crate::store::{Store, StoreError};
use crate::tls::Certificates;

/// An expired certificate is worth a line in the log this often.
const REMINDER: Duration = Duration::from_hours(24);

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
    /// Orders in a row that came to nothing.
    pub failures: u32,
    /// When the last of them did.
    pub failed_at: Option<Timestamp>,
}

/// Obtains certificates and renews them.
pub struct Acme {
    settings: Settings,
    client: HttpClient,
    records: Records,
    clock: Clock,
    certificates: Arc<Certificates>,
    accounts: Accounts,
    hosts: Mutex<BTreeMap<String, Host>>,
}

/// What is known of one host without asking the store.
#[derive(Default)]
struct Host {
    state: HostState,
    /// The chain that is served.
    chain: Option<String>,
    /// The chain that is of no use, which is said once.
    useless: Option<String>,
    reminded_at: Option<Timestamp>,
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
        let records = Records::new(store, keyring, settings.directory_url.as_str());
        Arc::new(Self {
            settings,
            client,
            records,
            clock,
            certificates,
            accounts: Accounts::default(),
            hosts: Mutex::default(),
        })
    }

    /// Puts the certificates of earlier runs into use, those of another CA too where there is none
    /// of this one. To be awaited before the listeners serve.
    pub async fn load(&self) {
        for host in &self.settings.hosts {
            if let Err(error) = self.load_host(host).await {
                tracing::error!(host, %error, "a certificate could not be loaded");
            }
        }
    }

    async fn load_host(&self, host: &str) -> Result<(), StoreError> {
        let own = self.records.certificate(host).await?;
        let found = match own {
            Some((record, _)) => Some((self.records.certificate_key(host), record)),
            None => self.records.foreign_certificate(host).await?,
        };
        if let Some((key, record)) = found {
            self.serve(host, &record, &key);
        }
        Ok(())
    }

    /// Keeps all certificates fresh; never ends. Works on whatever runtime it is polled on.
    pub async fn run(self: Arc<Self>) {
        let mut hosts = JoinSet::new();
        for host in self.settings.hosts.clone() {
            let acme = Arc::clone(&self);
            hosts.spawn(async move { acme.look_after(&host).await });
        }
        while hosts.join_next().await.is_some() {}
        std::future::pending::<()>().await;
    }

    /// What `/.well-known/acme-challenge/<token>` answers with (RFC 8555 §8.3), as
    /// `application/octet-stream`; `None` is a 404. Knows the tokens of every guard with this store
    /// and no others.
    pub async fn key_authorization(&self, token: &str) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        let found = self.records.challenge(token).await;
        found.unwrap_or_else(|error| {
            tracing::error!(%error, "a proof for the CA could not be looked up");
            None
        })
    }

    /// How it stands, host by host, in the order of the settings.
    pub fn state(&self) -> Vec<HostState> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let state = |host: &String| {
            let known = hosts.get(host).map(|host| host.state.clone());
            HostState {
                host: host.clone(),
                ..known.unwrap_or_default()
            }
        };
        self.settings.hosts.iter().map(state).collect()
    }

    fn note<T>(&self, host: &str, change: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(host.to_owned()).or_default())
    }

    /// Puts a certificate into use, unless it is already.
    fn serve(&self, host: &str, record: &CertificateRecord, key: &str) {
        let chain = Some(&record.chain);
        if self.note(host, |known| {
            known.chain.as_ref() == chain || known.useless.as_ref() == chain
        }) {
            return;
        }
        let Some(pair) = record.pair(&self.records, key) else {
            self.note(host, |host| host.useless = Some(record.chain.clone()));
            return;
        };
        self.certificates.set(host, &pair);
        self.note(host, |host| {
            host.state.not_after = Some(record.life.end);
            host.state.next_attempt = Some(record.renew_at);
            host.chain = Some(record.chain.clone());
            host.reminded_at = None;
        });
    }

    fn is_served(&self, host: &str, record: &CertificateRecord) -> bool {
        self.note(host, |host| host.chain.as_ref() == Some(&record.chain))
    }

    /// Once a day while an expired certificate is served.
    fn warn_of_expiry(&self, name: &str, now: Timestamp) {
        self.note(name, |host| {
            let Some(end) = host.state.not_after.filter(|end| *end <= now) else {
                return;
            };
            let is_due = |at: Timestamp| now.since(at) >= REMINDER;
            if host.reminded_at.is_none_or(is_due) {
                host.reminded_at = Some(now);
                report::expired(name, end, host.state.last_error.as_deref());
            }
        });
    }
}
