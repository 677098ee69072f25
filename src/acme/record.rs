//! What lies in the store, all of it JSON:
//!
//! | key | is | until |
//! |---|---|---|
//! | `acme/account/<directory> <kid>` | [`AccountRecord`] | for good |
//! | `acme/certificate/<host>/<directory>` | [`CertificateRecord`] | a year after its end |
//! | `acme/attempts/<host>/<directory>` | [`AttemptsRecord`] | a month after the next attempt |
//! | `acme/lease/<host>/<directory>` | [`super::lease::Lease`] | a minute |
//! | `acme/challenge/<token>` | what HTTP-01 is answered with | a quarter of an hour |
//!
//! Each directory has records of its own, so that guards which ask different CAs, as for a while
//! during a change, do not order against each other. Private keys are sealed, each for its own place
//!

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::challenge::Kind;
use super::schedule::Life;
use crate::clock::Timestamp;
use crate::crypto::{Keyring, Purpose};
use crate::store::{Store, StoreError, Version};

/// An expired certificate is better than none for a while, not for ever.
const KEEP_CERTIFICATE: Duration = Duration::from_hours(365 * 24);
const KEEP_ATTEMPTS: Duration = Duration::from_hours(30 * 24);
/// Longer than any attempt takes.
const KEEP_CHALLENGE: Duration = Duration::from_mins(15);

/// Who we are at a CA.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccountRecord {
    /// The credentials of instant-acme, sealed.
    pub(super) sealed_credentials: String,
    /// As the CA knows it.
    pub(super) email: Option<String>,
}

/// A certificate that was issued.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CertificateRecord {
    /// PEM, leaf first.
    pub(super) chain: String,
    /// PEM, sealed.
    pub(super) sealed_key: String,
    pub(super) life: Life,
    /// The same for every guard with this store.
    pub(super) renew_at: Timestamp,
    /// When to ask for the CA's opinion about that.
    pub(super) ask_at: Timestamp,
    /// Whether the CA has opinions, and wants to be told what a renewal replaces (RFC 9773 §5).
    pub(super) is_replaceable: bool,
    /// What proved control of the name.
    pub(super) proved_by: Kind,
}

/// How orders went since the last certificate.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AttemptsRecord {
    /// In a row; includes one that is under way.
    pub(super) failures: u32,
    /// No order before this.
    pub(super) next_at: Timestamp,
    /// The proof to offer then.
    pub(super) next_kind: Kind,
    pub(super) error: Option<String>,
    /// When the last one came to nothing.
    #[serde(default)]
    pub(super) failed_at: Option<Timestamp>,
}

/// Reads and writes the records of one directory.
#[derive(Clone)]
pub(super) struct Records {
    pub(super) store: Store,
    keyring: Keyring,
    directory: String,
}

impl Records {
    pub(super) fn new(store: Store, keyring: Keyring, directory: &str) -> Self {
        Self {
            store,
            keyring,
            directory: directory.to_owned(),
        }
    }

    /// The records of another directory.
    pub(super) fn of(&self, directory: &str) -> Self {
        Self::new(self.store.clone(), self.keyring.clone(), directory)
    }

    pub(super) fn account_key(&self, kid: &str) -> String {
        format!("acme/account/{} {kid}", self.directory)
    }

    pub(super) fn certificate_key(&self, host: &str) -> String {
        format!("acme/certificate/{host}/{}", self.directory)
    }

    pub(super) fn lease_key(&self, host: &str) -> String {
        format!("acme/lease/{host}/{}", self.directory)
    }

    fn attempts_key(&self, host: &str) -> String {
        format!("acme/attempts/{host}/{}", self.directory)
    }

    pub(super) async fn account(&self, kid: &str) -> Result<Option<AccountRecord>, StoreError> {
        let found = self.read(&self.account_key(kid)).await?;
        Ok(found.map(|(record, _)| record))
    }

    pub(super) async fn put_account(
        &self,
        kid: &str,
        record: &AccountRecord,
    ) -> Result<(), StoreError> {
        self.write(&self.account_key(kid), record, None).await
    }

    pub(super) async fn forget_account(&self, kid: &str) -> Result<(), StoreError> {
        self.store.delete(&self.account_key(kid)).await?;
        Ok(())
    }

    pub(super) async fn certificate(
        &self,
        host: &str,
    ) -> Result<Option<(CertificateRecord, Version)>, StoreError> {
        self.read(&self.certificate_key(host)).await
    }

    /// Of those that other directories issued for this host, the one that lives longest, and its
    /// key.
    pub(super) async fn foreign_certificate(
        &self,
        host: &str,
    ) -> Result<Option<(String, CertificateRecord)>, StoreError> {
        let prefix = format!("acme/certificate/{host}/");
        let found = self.store.scan(&prefix, None, 32).await?;
        let found = found.into_iter().filter_map(|(key, record)| {
            let certificate: CertificateRecord = decode(&key, &record.value)?;
            Some((key, certificate))
        });
        Ok(found.max_by_key(|(_, certificate)| certificate.life.end))
    }

    pub(super) async fn put_certificate(
        &self,
        host: &str,
        record: &CertificateRecord,
    ) -> Result<(), StoreError> {
        let until = record.life.end.after(KEEP_CERTIFICATE);
        let key = self.certificate_key(host);
        self.write(&key, record, Some(until)).await
    }

    /// Writes unless somebody else has meanwhile.
    pub(super) async fn update_certificate(
        &self,
        host: &str,
        record: &CertificateRecord,
        version: Version,
    ) -> Result<(), StoreError> {
        let until = record.life.end.after(KEEP_CERTIFICATE);
        let key = self.certificate_key(host);
        let value = encode(&key, record)?;
        self.store.swap(&key, version, value, Some(until)).await?;
        Ok(())
    }

    pub(super) async fn attempts(&self, host: &str) -> Result<Option<AttemptsRecord>, StoreError> {
        let found = self.read(&self.attempts_key(host)).await?;
        Ok(found.map(|(record, _)| record))
    }

    pub(super) async fn put_attempts(
        &self,
        host: &str,
        record: &AttemptsRecord,
    ) -> Result<(), StoreError> {
        let until = record.next_at.after(KEEP_ATTEMPTS);
        self.write(&self.attempts_key(host), record, Some(until))
            .await
    }

    pub(super) async fn put_challenge(
        &self,
        token: &str,
        answer: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = Some(now.after(KEEP_CHALLENGE));
        let key = challenge_key(token);
        self.store
            .put(&key, answer.as_bytes().to_vec(), until)
            .await?;
        Ok(())
    }

    pub(super) async fn challenge(&self, token: &str) -> Result<Option<String>, StoreError> {
        let record = self.store.get(&challenge_key(token)).await?;
        Ok(record.and_then(|record| String::from_utf8(record.value).ok()))
    }

    pub(super) async fn forget_challenge(&self, token: &str) {
        // If it fails, it expires by itself.
        let _ = self.store.delete(&challenge_key(token)).await;
    }

    /// For the record at `key`: a secret that was copied elsewhere does not open there.
    pub(super) fn seal(&self, key: &str, secret: &[u8]) -> String {
        self.keyring.seal(Purpose::Acme, key.as_bytes(), secret)
    }

    pub(super) fn open(&self, key: &str, sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let secret = self.keyring.open(Purpose::Acme, key.as_bytes(), sealed);
        if secret.is_none() {
            tracing::error!(
                key,
                "a stored key cannot be opened: it was sealed with another keyring"
            );
        }
        secret.map(Zeroizing::new)
    }

    async fn read<T: DeserializeOwned>(
        &self,
        key: &str,
    ) -> Result<Option<(T, Version)>, StoreError> {
        let Some(record) = self.store.get(key).await? else {
            return Ok(None);
        };
        Ok(decode(key, &record.value).map(|value| (value, record.version)))
    }

    async fn write<T: Serialize>(
        &self,
        key: &str,
        record: &T,
        until: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.store.put(key, encode(key, record)?, until).await?;
        Ok(())
    }
}

fn challenge_key(token: &str) -> String {
    format!("acme/challenge/{token}")
}

/// One that cannot be read counts as none: it is replaced in time, by an order if need be.
fn decode<T: DeserializeOwned>(key: &str, value: &[u8]) -> Option<T> {
    let read = serde_json::from_slice(value);
    if let Err(error) = &read {
        tracing::error!(key, %error, "a record cannot be read");
    }
    read.ok()
}

fn encode<T: Serialize>(key: &str, record: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| StoreError::Damaged {
        key: key.to_owned(),
        what: error.to_string(),
    })
}
