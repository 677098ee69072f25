//! How grants end before their time, and how the rest of the process learns of it.
//!
//! A revoked grant's record stays, marked, until its code is forgotten (see `code`); its tokens
//! point to it and die with it at once.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

use super::code::REPLAY_MEMORY;
use super::credential::{self, ACCESS_TOKEN};
use super::record::{access_key, client_prefix, encode, grant_key};
use super::refresh_token::RefreshToken;
use super::{ClientId, GrantId, Grants};
use crate::crypto::TokenHash;
use crate::identity::Identity;
use crate::store::StoreError;

/// How many grants a page of the index brings.
const PAGE: usize = 64;

/// Grants share marks by hash: a revocation makes caches look 1/256 of all grants up again.
const SLOTS: usize = 256;

/// Receivers that fall this far behind must take every grant for revoked.
const BACKLOG: usize = 1024;

impl Grants {
    /// RFC 7009: an access token dies alone, a refresh token takes its family with it. Unknown
    /// tokens, and those of another client, are ignored (A-084).
    pub async fn revoke_token(&self, token: &str, client: &ClientId) -> Result<(), StoreError> {
        if credential::is_well_formed(ACCESS_TOKEN, token.as_bytes()) {
            return self.revoke_access(TokenHash::of(token), client).await;
        }
        let Some(token) = RefreshToken::parse(&self.keyring, token) else {
            return Ok(());
        };
        if self.belongs(&token.grant, client).await? {
            self.revoke(&token.grant).await?;
        }
        Ok(())
    }

    async fn revoke_access(&self, hash: TokenHash, client: &ClientId) -> Result<(), StoreError> {
        let Some(access) = self.load_access(hash).await? else {
            return Ok(());
        };
        if !self.belongs(&access.grant, client).await? {
            return Ok(());
        }
        self.store.delete(&access_key(hash)).await?;
        tracing::info!(event = "access_token_revoked", grant = %access.grant.0,
            token = %hash.short(), client = client.0.as_str(), "an access token was revoked");
        self.revocations.announce(&access.grant);
        Ok(())
    }

    async fn belongs(&self, grant: &GrantId, client: &ClientId) -> Result<bool, StoreError> {
        let found = self.load(grant).await?;
        Ok(found.is_some_and(|found| found.record.client == *client))
    }

    /// The grant that a refresh token is of, and the person whose that is. `None` unless the token was once
    /// ours and the grant lives.
    pub async fn holder(
        &self,
        refresh_token: &str,
    ) -> Result<Option<(GrantId, Identity)>, StoreError> {
        let Some(token) = RefreshToken::parse(&self.keyring, refresh_token) else {
            return Ok(None);
        };
        let found = self.load(&token.grant).await?;
        let live = found.filter(|found| found.record.is_live(self.clock.now()));
        Ok(live.map(|found| (token.grant, found.record.identity)))
    }

    /// Ends a grant and all that belongs to it. When this returns, no lookup in this process finds
    /// any of its tokens.
    pub async fn revoke(&self, grant: &GrantId) -> Result<(), StoreError> {
        let Some(found) = self.load(grant).await? else {
            return Ok(());
        };
        let mut record = found.record;
        let now = self.clock.now();
        let first = record.revoked_at.is_none();
        record.revoked_at = record.revoked_at.or(Some(now));
        record.previous = None;
        let key = grant_key(grant);
        let value = encode(&key, &record)?;
        // Whatever happens to the record meanwhile, this is its end: no `swap`.
        let until = now.after(self.lifetimes.code).after(REPLAY_MEMORY);
        self.store.put(&key, value, Some(until)).await?;
        self.revocations.announce(grant);
        self.forget_index(&record.client, grant).await;
        if first {
            tracing::info!(event = "grant_revoked", grant = %grant.0, client = record.client.0.as_str(),
                subject = record.identity.subject.as_str(), "a grant was revoked");
        }
        Ok(())
    }

    /// The index may be late: [`Self::has_grants`] looks at the grants themselves.
    async fn forget_index(&self, client: &ClientId, grant: &GrantId) {
        let key = format!("{}{}", client_prefix(client), grant.0);
        if let Err(error) = self.store.delete(&key).await {
            tracing::warn!(grant = %grant.0, %error, "a revoked grant is still indexed");
        }
    }

    /// Whether any grant of this client lives (A-019).
    pub async fn has_grants(&self, client: &ClientId) -> Result<bool, StoreError> {
        let prefix = client_prefix(client);
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(&prefix, after.as_deref(), PAGE).await?;
            for (key, _) in &page {
                let grant = GrantId(key.get(prefix.len()..).unwrap_or_default().to_owned());
                let found = self.load(&grant).await?;
                if found.is_some_and(|found| found.record.is_live(self.clock.now())) {
                    return Ok(true);
                }
            }
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(false),
            }
        }
    }
}

/// Tells caches and streams in this process that a grant ended, or a token of it.
///
/// A cache that holds what it read about a grant needs no task and no lock to stay right:
///
/// ```text
/// before = total(); read the store; mark = mark_of(grant); if total() != before, read again
/// later: what was read is good while is_current(mark)
/// ```
pub struct Revocations {
    total: AtomicU64,
    slots: [AtomicU64; SLOTS],
    news: broadcast::Sender<GrantId>,
}

/// The state of one grant's slot.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    slot: usize,
    count: u64,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            total: AtomicU64::new(0),
            slots: [const { AtomicU64::new(0) }; SLOTS],
            news: broadcast::channel(BACKLOG).0,
        }
    }
}

impl Revocations {
    /// How many revocations there were.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::SeqCst)
    }

    /// The present mark of a grant.
    pub fn mark_of(&self, grant: &GrantId) -> Mark {
        let slot = slot_of(grant);
        Mark {
            slot,
            count: self.count(slot),
        }
    }

    /// Whether no revocation has touched the grant since `mark` was taken.
    pub fn is_current(&self, mark: Mark) -> bool {
        self.count(mark.slot) == mark.count
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<GrantId> {
        self.news.subscribe()
    }

    /// After the store has it. The total goes first: whoever sees the new mark then also sees that
    /// what it read before may be out of date.
    pub(super) fn mark(&self, grant: &GrantId) {
        self.total.fetch_add(1, Ordering::SeqCst);
        if let Some(slot) = self.slots.get(slot_of(grant)) {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// [`Self::mark`], and tells those who listen.
    fn announce(&self, grant: &GrantId) {
        self.mark(grant);
        // An error only says that nobody listens.
        drop(self.news.send(grant.clone()));
    }

    fn count(&self, slot: usize) -> u64 {
        self.slots
            .get(slot)
            .map_or(0, |slot| slot.load(Ordering::SeqCst))
    }
}

/// Ids are random, so any mixing will do.
fn slot_of(grant: &GrantId) -> usize {
    let mixed = grant.0.bytes().fold(0_usize, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(usize::from(byte))
    });
    mixed % SLOTS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::grant::testing::{LIFETIMES, is_invalid, room};

    #[tokio::test]
    async fn a084_a_refresh_token_takes_its_family_with_it() {
        let room = room();
        let bystander = room.pair().await;
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        // Any of the family, superseded ones too.
        room.grants
            .revoke_token(&first.refresh_token, &room.client)
            .await
            .unwrap();
        for pair in [&first, &second] {
            assert!(!room.works(pair).await);
            assert!(is_invalid(&room.refresh(&pair.refresh_token).await));
        }
        assert!(room.works(&bystander).await);
    }

    #[tokio::test]
    async fn a084_an_access_token_dies_alone() {
        let room = room();
        let pair = room.pair().await;
        room.grants
            .revoke_token(&pair.access_token, &room.client)
            .await
            .unwrap();
        assert!(!room.works(&pair).await);
        let next = room.refresh(&pair.refresh_token).await.unwrap();
        assert!(room.works(&next).await);
    }

    #[tokio::test]
    async fn a084_other_clients_and_noise_revoke_nothing() {
        let room = room();
        let pair = room.pair().await;
        let stranger = ClientId("mcp_other".into());
        for token in [&pair.access_token, &pair.refresh_token] {
            room.grants.revoke_token(token, &stranger).await.unwrap();
        }
        let long = "x".repeat(1 << 20);
        for noise in ["", "mga_", "mgr_x.y", &pair.refresh_token[..90], &long] {
            room.grants.revoke_token(noise, &room.client).await.unwrap();
        }
        assert!(room.works(&pair).await);
        assert!(room.refresh(&pair.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn a103_revocations_are_heard() {
        let room = room();
        let mut news = room.grants.revocations();
        let pair = room.pair().await;
        let grant = room.look(&pair).await.unwrap().grant;
        assert!(news.try_recv().is_err());
        room.grants
            .revoke_token(&pair.access_token, &room.client)
            .await
            .unwrap();
        assert_eq!(news.try_recv().unwrap(), grant);
        room.grants.revoke(&grant).await.unwrap();
        assert_eq!(news.try_recv().unwrap(), grant);
    }

    #[tokio::test]
    async fn a_mark_outlives_everything_but_its_grants_revocation() {
        let room = room();
        let (pair, other) = (room.pair().await, room.pair().await);
        let grant = room.look(&pair).await.unwrap().grant;
        let marks = room.grants.revocation_marks();
        let mark = marks.mark_of(&grant);
        room.refresh(&other.refresh_token).await.unwrap();
        assert!(marks.is_current(mark));
        room.grants.revoke(&grant).await.unwrap();
        assert!(!marks.is_current(mark));
    }

    #[tokio::test]
    async fn a019_a_client_has_grants_as_long_as_one_is_refreshed() {
        let room = room();
        assert!(!room.grants.has_grants(&room.client).await.unwrap());
        let mut pair = room.pair().await;
        for _ in 0..80 {
            room.clock.advance(Duration::from_hours(24));
            room.store.sweep().await.unwrap();
            assert!(room.grants.has_grants(&room.client).await.unwrap());
            pair = room.refresh(&pair.refresh_token).await.unwrap();
        }
        assert!(
            !room
                .grants
                .has_grants(&ClientId("mcp_012".into()))
                .await
                .unwrap()
        );
        room.clock.advance(LIFETIMES.refresh_token);
        assert!(!room.grants.has_grants(&room.client).await.unwrap());
    }

    #[tokio::test]
    async fn a019_dead_grants_do_not_hide_a_live_one() {
        let room = room();
        for _ in 0..150 {
            let pair = room.pair().await;
            let grant = room.look(&pair).await.unwrap().grant;
            // Without tidying the index up, as after a crash.
            room.store.delete(&grant_key(&grant)).await.unwrap();
        }
        assert!(!room.grants.has_grants(&room.client).await.unwrap());
        let pair = room.pair().await;
        assert!(room.grants.has_grants(&room.client).await.unwrap());
        let grant = room.look(&pair).await.unwrap().grant;
        room.grants.revoke(&grant).await.unwrap();
        assert!(!room.grants.has_grants(&room.client).await.unwrap());
    }

    #[tokio::test]
    async fn revoking_what_is_not_there_is_no_error() {
        let room = room();
        room.grants
            .revoke(&GrantId("AAAAAAAAAAAAAAAAAAAAAA".into()))
            .await
            .unwrap();
        assert!(room.keys("grant/").await.is_empty());
    }
}
