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
                tracing::warn!(grant = %grant.0, %error, "a token's first use was not noted");
                Some(record)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::record::grant_key;
    use crate::grant::testing::{LIFETIMES, in_parallel, is_invalid, room};

    #[tokio::test]
    async fn a088_an_expired_token_is_unknown() {
        let room = room();
        let pair = room.pair().await;
        room.clock.advance(LIFETIMES.access_token);
        assert!(!room.works(&pair).await);
        assert!(room.refresh(&pair.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn an_unknown_token_is_unknown() {
        let room = room();
        let hash = TokenHash::of(credential::fresh(ACCESS_TOKEN));
        assert!(room.grants.access_token(hash).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_first_use_of_a_new_token_is_noted_once() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        let key = grant_key(&room.look(&first).await.unwrap().grant);
        let version = async || room.store.get(&key).await.unwrap().unwrap().version;
        let unused = version().await;
        room.works(&first).await;
        assert_eq!(version().await, unused);
        room.works(&second).await;
        let used = version().await;
        assert_ne!(used, unused);
        room.works(&second).await;
        assert_eq!(version().await, used);
    }

    #[tokio::test]
    async fn first_uses_in_parallel_all_succeed() {
        let room = room();
        let pair = room.pair().await;
        let pair = room.refresh(&pair.refresh_token).await.unwrap();
        let all = in_parallel(64, async || room.works(&pair).await);
        assert!(all.into_iter().all(|works| works));
    }

    #[tokio::test]
    async fn a_store_that_does_not_answer_is_no_unknown_token() {
        let room = room();
        let pair = room.pair().await;
        room.store.close().await;
        let hash = TokenHash::of(&pair.access_token);
        assert!(room.grants.access_token(hash).await.is_err());
        assert!(!is_invalid(&room.refresh(&pair.refresh_token).await));
    }
}
