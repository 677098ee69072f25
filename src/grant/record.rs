//! What lies in the store, all of it JSON:
//!
//! | key | is | until |
//! |---|---|---|
//! | `grant/<grant id>` | [`GrantRecord`]: the family, its two latest refresh tokens | idle or absolute expiry |
//! | `access/<hash of the token>` | [`AccessRecord`]: points to its grant | the token's expiry |
//! | `code/<hash of the code>` | [`super::code::CodeRecord`] | the code's expiry + 10 min |
//! | `client-grant/<hash of the client id>/<grant id>` | nothing; an index (A-019) | the grant's absolute expiry |
//!
//! The grant record is the one place that decides: every change of a family is one `create`, `swap`
//! or `put` of it, everything else is written before or cleaned up after. Fields that a newer
//! version wrote survive our rewriting it. No credential is in it, only hashes and one pair
//! that is sealed under the token it replaced.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ClientId, GrantError, GrantId, Grants, ResourceUri, Scopes};
use crate::clock::Timestamp;
use crate::crypto::TokenHash;
use crate::identity::Identity;
use crate::store::{Record, StoreError, Version};

/// One family.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct GrantRecord {
    pub(super) identity: Identity,
    pub(super) client: ClientId,
    pub(super) resource: ResourceUri,
    pub(super) scopes: Scopes,
    pub(super) created_at: Timestamp,
    /// Absolute: no token of the family outlives it.
    pub(super) expires_at: Timestamp,
    pub(super) newest: Generation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<Superseded>,
    /// A revoked grant stays for a while, so that its code cannot make it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked_at: Option<Timestamp>,
    #[serde(flatten)]
    unknown: serde_json::Map<String, serde_json::Value>,
}

/// The pair that a client should be holding.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) refresh: TokenHash,
    pub(super) access: TokenHash,
    pub(super) issued_at: Timestamp,
    /// The refresh token's idle expiry.
    pub(super) refresh_until: Timestamp,
    pub(super) access_until: Timestamp,
    /// Whether any token of this pair was ever presented: then its answer arrived (D-05 c).
    pub(super) confirmed: bool,
}

/// The refresh token that the newest pair replaced.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Superseded {
    pub(super) number: u32,
    pub(super) refresh: TokenHash,
    /// The newest pair, sealed under this token's text; base64url.
    pub(super) sealed_pair: String,
    /// How often the pair was repeated since it is confirmed.
    pub(super) repeats: u32,
    /// When the pair was handed out again while nobody had used it; not every such time is noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) handed_out_at: Option<Timestamp>,
}

/// What an access token stands for, together with its grant.
#[derive(Serialize, Deserialize)]
pub(super) struct AccessRecord {
    pub(super) grant: GrantId,
    pub(super) generation: u32,
    pub(super) scopes: Scopes,
    pub(super) expires_at: Timestamp,
}

impl GrantRecord {
    /// The grant as its code is redeemed.
    pub(super) fn new(
        approval: super::Approval,
        created_at: Timestamp,
        expires_at: Timestamp,
        newest: Generation,
    ) -> Self {
        Self {
            identity: approval.identity,
            client: approval.client,
            resource: approval.resource,
            scopes: approval.scopes,
            created_at,
            expires_at,
            newest,
            previous: None,
            revoked_at: None,
            unknown: serde_json::Map::new(),
        }
    }

    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }

    /// Whether the answer that carried this generation counts as lost: it was replaced, unconfirmed,
    /// by the newest (D-05 c).
    pub(super) fn was_replaced(&self, generation: u32) -> bool {
        self.previous
            .as_ref()
            .is_some_and(|previous| previous.number < generation && generation < self.newest.number)
    }
}

/// A grant record and the version that `swap` must name.
pub(super) struct Versioned {
    pub(super) record: GrantRecord,
    pub(super) version: Version,
}

impl Grants {
    pub(super) async fn load(&self, grant: &GrantId) -> Result<Option<Versioned>, StoreError> {
        let key = grant_key(grant);
        let Some(found) = self.store.get(&key).await? else {
            return Ok(None);
        };
        Ok(Some(Versioned {
            record: decode(&key, &found)?,
            version: found.version,
        }))
    }

    /// Writes the record unless it changed since it was loaded; whether it was written.
    pub(super) async fn swap(
        &self,
        grant: &GrantId,
        expected: Version,
        record: &GrantRecord,
    ) -> Result<bool, StoreError> {
        let key = grant_key(grant);
        let value = encode(&key, record)?;
        let until = self.kept_until(record);
        let version = self.store.swap(&key, expected, value, Some(until)).await?;
        Ok(version.is_some())
    }

    /// The store's expiry of a live grant: when nothing of it can be used any more. It outlives its
    /// code, whatever the configured lifetimes, for it is also what makes the code single-use.
    pub(super) fn kept_until(&self, record: &GrantRecord) -> Timestamp {
        record
            .newest
            .refresh_until
            .max(record.newest.access_until)
            .max(record.created_at.after(self.lifetimes.code))
    }

    pub(super) async fn load_access(
        &self,
        hash: TokenHash,
    ) -> Result<Option<AccessRecord>, StoreError> {
        let key = access_key(hash);
        let found = self.store.get(&key).await?;
        found.map(|found| decode(&key, &found)).transpose()
    }

    /// Removes an access token that nobody holds, or that nobody should. The grant record has been
    /// changed already, so a failure here costs nothing but a dead row.
    pub(super) async fn discard_access(&self, hash: TokenHash) {
        if let Err(error) = self.store.delete(&access_key(hash)).await {
            tracing::warn!(token = %hash.short(), %error, "a dead access token was not removed");
        }
    }
}

pub(super) fn grant_key(grant: &GrantId) -> String {
    format!("grant/{}", grant.0)
}

pub(super) fn access_key(hash: TokenHash) -> String {
    format!("access/{}", hash.to_text())
}

/// The client's id is hashed: one that is a URL contains `/` and would be a prefix of another.
pub(super) fn client_prefix(client: &ClientId) -> String {
    format!("client-grant/{}/", TokenHash::of(&client.0).to_text())
}

pub(super) fn encode<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| damaged(key, &error))
}

pub(super) fn decode<T: DeserializeOwned>(key: &str, found: &Record) -> Result<T, StoreError> {
    serde_json::from_slice(&found.value).map_err(|error| damaged(key, &error))
}

/// Says where and why, but not what: the value may be personal data.
fn damaged(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Damaged {
        key: key.to_owned(),
        what: format!("{:?} error at column {}", error.classify(), error.column()),
    }
}

/// Many writers at once, or something is wrong with the store: either way the client may try again.
pub(super) fn contended() -> GrantError {
    GrantError::Store(StoreError::Unavailable("a grant is contended".to_owned()))
}
