//! From an access token's hash to what it stands for. Two reads, which `resource` caches.

use std::sync::Arc;

use super::credential::{self, ACCESS_TOKEN};
use super::record::{AccessRecord, GrantRecord, Versioned};
use super::{AccessToken, GrantId, Grants};
use crate::crypto::TokenHash;
use crate::store::StoreError;

/// How often a confirmation that lost its `swap` looks again.
const ATTEMPTS: usize = 8;

impl AccessToken {
    /// Whether a text could be an access token at all: nothing else is worth a lookup.
    pub fn is_well_formed(text: &[u8]) -> bool {
        credential::is_well_formed(ACCESS_TOKEN, text)
    }

    fn of(access: AccessRecord, grant: GrantRecord) -> Self {
        Self {
            identity: Arc::new(grant.identity),
            client: grant.client,
            grant: access.grant,
            scopes: access.scopes,
            resource: grant.resource,
            expires_at: access.expires_at,
        }
    }
}

impl Grants {
    /// What an access token stands for, or `None` if it is unknown, expired or revoked. The first
    /// sight of the newest token confirms its generation (D-05 c).
    pub async fn access_token(&self, hash: TokenHash) -> Result<Option<AccessToken>, StoreError> {
        let Some(access) = self.load_access(hash).await? else {
            return Ok(None);
        };
        for _ in 0..ATTEMPTS {
            let Some(found) = self.load(&access.grant).await? else {
                return Ok(None);
            };
            if !self.is_good(&access, &found.record) {
                return Ok(None);
            }
            let newest = &found.record.newest;
            if newest.confirmed || newest.number != access.generation {
                return Ok(Some(AccessToken::of(access, found.record)));
            }
            if let Some(record) = self.confirm(&access.grant, found).await {
                return Ok(Some(AccessToken::of(access, record)));
            }
        }
        Err(StoreError::Unavailable("a grant is contended".to_owned()))
    }

    fn is_good(&self, access: &AccessRecord, grant: &GrantRecord) -> bool {
        let now = self.clock.now();
        grant.is_live(now) && now < access.expires_at && !grant.was_replaced(access.generation)
    }

    /// Notes that the newest pair arrived. `None`: the grant changed meanwhile, and perhaps so that
    /// the token is dead.
    async fn confirm(&self, grant: &GrantId, found: Versioned) -> Option<GrantRecord> {
        let Versioned {
            mut record,
            version,
        } = found;
        record.newest.confirmed = true;
        match self.swap(grant, version, &record).await {
            Ok(written) => written.then_some(record),
            // A full disk must not stop requests that need no writing. The next sight of the
            // token tries again.
            Err(error) => {
                tracing::warn!(grant = %grant.0, error = ?error, "a token's first use was not noted");
                Some(record)
            }
        }
    }
}
