//! Refreshing (RFC 6749 §6) by the rule "confirm by use, idempotent in grace" (design rule D-05):
//! a refresh token is good once, and yet a client whose answer was lost, or whose several processes
//! refresh at once, keeps its grant.
//!
//! A family knows two refresh tokens, the newest and the one that it replaced. Presented is
//! * the newest: it is replaced;
//! * the replaced one, within the grace: the same pair again, which lies sealed under this token;
//! * the replaced one, later, and no token of the newest pair was ever seen: the answer was lost.
//!   The pair is replaced by another;
//! * the next after the newest: the store lost its last write, and it is replaced. One further
//!   ahead was never handed out, and is worth nothing;
//! * any other that was once ours: two parties hold the family, and it ends.
//!
//! Everything is checked before anything is written, and one `swap` of the grant record decides.

use super::record::{GrantRecord, Versioned, contended};
use super::refresh_token::RefreshToken;
use super::verdict::{Verdict, is_worth_noting, judge};
use super::{ClientId, GrantError, GrantId, Grants, ResourceUri, Scopes, TokenPair};
use crate::clock::Timestamp;
use crate::crypto::TokenHash;
use crate::store::{StoreError, Version};

/// Each lost `swap` means that somebody else's succeeded; this many in a row, and the client is
/// asked to come back.
const ATTEMPTS: usize = 64;

/// One presentation of a refresh token.
struct Presented<'a> {
    text: &'a str,
    token: RefreshToken,
    client: &'a ClientId,
    scopes: Option<&'a Scopes>,
    resource: Option<&'a ResourceUri>,
}

impl Grants {
    /// Rotates a refresh token (RFC 6749 §6, design rule D-05; A-076 … A-080). `scopes`: `None`
    /// or a subset of what was granted.
    pub async fn refresh(
        &self,
        refresh_token: &str,
        client: &ClientId,
        scopes: Option<&Scopes>,
        resource: Option<&ResourceUri>,
    ) -> Result<TokenPair, GrantError> {
        let presented = Presented {
            text: refresh_token,
            token: RefreshToken::parse(&self.keyring, refresh_token)
                .ok_or(GrantError::Invalid("the refresh token is unknown"))?,
            client,
            scopes,
            resource,
        };
        for _ in 0..ATTEMPTS {
            if let Some(pair) = self.try_refresh(&presented).await? {
                return Ok(pair);
            }
        }
        Err(contended())
    }

    /// `None`: the grant changed meanwhile.
    async fn try_refresh(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Option<TokenPair>, GrantError> {
        let found = self.load(&presented.token.grant).await?;
        let found = found.ok_or(GrantError::Invalid("the grant has ended"))?;
        let now = self.clock.now();
        presented.check(&found.record, now)?;
        let hash = TokenHash::of(presented.text);
        let grace = self.lifetimes.refresh_grace;
        match judge(&found.record, hash, presented.token.generation, now, grace) {
            Verdict::Rotate => self.rotate(found, presented, now).await,
            Verdict::Replace => self.replace(found, presented, now).await,
            Verdict::Repeat => self.repeat(found, presented, now).await,
            Verdict::Reuse => Err(self.reused(&found.record, presented).await?),
            Verdict::Unknown => Err(GrantError::Invalid("the refresh token is unknown")),
        }
    }

    async fn rotate(
        &self,
        found: Versioned,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Option<TokenPair>, GrantError> {
        let Versioned {
            mut record,
            version,
        } = found;
        let token = &presented.token;
        let number = record.newest.number.max(token.generation).saturating_add(1);
        let scopes = presented.scopes.unwrap_or(&record.scopes).clone();
        let minted = self.mint(&token.grant, number, scopes, now, record.expires_at);
        record.previous = Some(minted.seal(token, presented.text)?);
        record.newest = minted.generation.clone();
        self.put_access(&token.grant, &minted).await?;
        if !self.swap(&token.grant, version, &record).await? {
            self.discard_access(minted.generation.access).await;
            return Ok(None);
        }
        tracing::info!(event = "token_refreshed", grant = %token.grant.0, generation = number,
            client = record.client.0.as_str(), subject = record.identity.subject.as_str(),
            "a refresh token was rotated");
        Ok(Some(minted.into_pair(now)))
    }

    async fn replace(
        &self,
        found: Versioned,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Option<TokenPair>, GrantError> {
        let lost = found.record.newest.access;
        let pair = self.rotate(found, presented, now).await?;
        if pair.is_some() {
            tracing::info!(event = "refresh_answer_lost", grant = %presented.token.grant.0,
                "a pair that nobody ever used was replaced");
            self.discard_access(lost).await;
            // A check whose confirmation failed to be written may have been cached.
            self.revocations.mark(&presented.token.grant);
        }
        Ok(pair)
    }

    async fn repeat(
        &self,
        found: Versioned,
        presented: &Presented<'_>,
        now: Timestamp,
    ) -> Result<Option<TokenPair>, GrantError> {
        let Versioned {
            mut record,
            version,
        } = found;
        let Some(previous) = record.previous.as_mut() else {
            return Ok(None);
        };
        let pair = previous.open(presented.text, now)?;
        let grant = &presented.token.grant;
        let stands = if record.newest.confirmed {
            previous.repeats = previous.repeats.saturating_add(1);
            self.count(grant, version, &record).await?
        } else if is_worth_noting(&record.newest, previous, now, self.lifetimes.refresh_grace) {
            previous.handed_out_at = Some(now);
            self.note(grant, version, &record).await
        } else {
            true
        };
        Ok(stands.then_some(pair))
    }

    /// Of a pair in use. What cannot be counted is not handed out.
    async fn count(
        &self,
        grant: &GrantId,
        version: Version,
        record: &GrantRecord,
    ) -> Result<bool, StoreError> {
        let written = self.swap(grant, version, record).await?;
        if written {
            let repeats = record.previous.as_ref().map(|previous| previous.repeats);
            tracing::info!(event = "refresh_repeated", grant = %grant.0, repeats,
                client = record.client.0.as_str(), "a superseded refresh token came within the grace");
        }
        Ok(written)
    }

    /// Of a pair that nobody has used. A disk that is full costs the client no more than what it has
    /// of the grace.
    async fn note(&self, grant: &GrantId, version: Version, record: &GrantRecord) -> bool {
        let written = self.swap(grant, version, record).await;
        written.unwrap_or_else(|error| {
            tracing::warn!(grant = %grant.0, %error, "that a pair was handed out again was not noted");
            true
        })
    }

    /// Ends the family.
    async fn reused(
        &self,
        record: &GrantRecord,
        presented: &Presented<'_>,
    ) -> Result<GrantError, GrantError> {
        let token = &presented.token;
        tracing::warn!(event = "refresh_reuse", grant = %token.grant.0, client = record.client.0.as_str(),
            subject = record.identity.subject.as_str(), generation = token.generation,
            newest = record.newest.number, "a refresh token was used twice; the grant ends");
        self.revoke(&token.grant).await?;
        Ok(GrantError::Invalid(
            "the refresh token was used before; the grant has ended",
        ))
    }
}

impl Presented<'_> {
    /// Everything but the token itself. None of it costs the rightful client anything.
    fn check(&self, record: &GrantRecord, now: Timestamp) -> Result<(), GrantError> {
        if record.client != *self.client {
            tracing::warn!(event = "refresh_by_another_client", grant = %self.token.grant.0,
                client = self.client.0.as_str(), owner = record.client.0.as_str(), "a refresh token was refused");
            return Err(GrantError::Invalid(
                "the refresh token was issued to another client",
            ));
        }
        if !record.is_live(now) {
            return Err(GrantError::Invalid("the grant has ended"));
        }
        if now >= record.newest.refresh_until {
            return Err(GrantError::Invalid("the refresh token has expired"));
        }
        if self
            .resource
            .is_some_and(|resource| *resource != record.resource)
        {
            return Err(GrantError::OtherResource);
        }
        if self
            .scopes
            .is_some_and(|scopes| !scopes.within(&record.scopes))
        {
            return Err(GrantError::WiderScope);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::grant::record::{access_key, grant_key};
    use crate::grant::testing::{
        LIFETIMES, PAST_GRACE, Room, in_parallel, is_invalid, room, room_with,
    };
    use crate::grant::{GrantId, Lifetimes};

    fn grant_of(pair: &TokenPair) -> GrantId {
        GrantId(pair.refresh_token[4..26].to_owned())
    }

    async fn is_dead(room: &Room, pair: &TokenPair) -> bool {
        is_invalid(&room.refresh(&pair.refresh_token).await) && !room.works(pair).await
    }

    #[tokio::test]
    async fn a_refresh_yields_a_new_pair_and_leaves_the_old_access_token_alive() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        assert_ne!(first.access_token, second.access_token);
        assert_ne!(first.refresh_token, second.refresh_token);
        assert!(room.works(&second).await && room.works(&first).await);
    }

    #[tokio::test]
    async fn a076_reuse_after_the_grace_ends_the_family() {
        let room = room();
        let bystander = room.pair().await;
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        assert!(room.works(&second).await);
        room.clock.advance(PAST_GRACE);
        assert!(is_invalid(&room.refresh(&first.refresh_token).await));
        assert!(is_dead(&room, &second).await);
        assert!(room.works(&bystander).await);
    }

    #[tokio::test]
    async fn a076_using_the_newest_refresh_token_confirms_it_too() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        let third = room.refresh(&second.refresh_token).await.unwrap();
        assert!(is_invalid(&room.refresh(&first.refresh_token).await));
        assert!(is_dead(&room, &third).await);
    }

    #[tokio::test]
    async fn a076_a_forged_token_harms_nobody() {
        let room = room();
        let pair = room.pair().await;
        let other = RefreshToken::mint(&crate::crypto::Keyring::ephemeral(), &grant_of(&pair), 0);
        assert!(is_invalid(&room.refresh(&other).await));
        assert!(room.refresh(&pair.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn a077_32_parallel_refreshes_get_one_pair() {
        let room = room();
        let first = room.pair().await;
        let pairs = in_parallel(32, async || {
            room.refresh(&first.refresh_token).await.unwrap()
        });
        let tokens: HashSet<_> = pairs
            .iter()
            .map(|pair| (&pair.access_token, &pair.refresh_token))
            .collect();
        assert_eq!(tokens.len(), 1);
        assert!(room.works(&first).await && room.works(&pairs[0]).await);
        assert_eq!(room.keys("access/").await.len(), 2);
        assert!(room.refresh(&pairs[7].refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn a077_within_the_grace_the_pair_is_repeated_with_what_remains_of_its_life() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        assert!(room.works(&second).await);
        room.clock.advance(Duration::from_secs(100));
        let again = room.refresh(&first.refresh_token).await.unwrap();
        assert_eq!(again.access_token, second.access_token);
        assert_eq!(again.refresh_token, second.refresh_token);
        let remains = LIFETIMES
            .access_token
            .checked_sub(Duration::from_secs(100))
            .unwrap();
        assert!(again.expires_in <= remains);
        assert!(again.expires_in > remains.checked_sub(Duration::from_secs(10)).unwrap());
    }

    #[tokio::test]
    async fn a077_a_confirmed_pair_is_repeated_twenty_times_at_most() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        assert!(room.works(&second).await);
        for _ in 0..20 {
            assert!(room.refresh(&first.refresh_token).await.is_ok());
        }
        assert!(is_invalid(&room.refresh(&first.refresh_token).await));
        assert!(is_dead(&room, &second).await);
    }

    #[tokio::test]
    async fn a077_repeats_of_an_unconfirmed_pair_are_not_counted() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        for _ in 0..100 {
            let again = room.refresh(&first.refresh_token).await.unwrap();
            assert_eq!(again.refresh_token, second.refresh_token);
        }
    }

    #[tokio::test]
    async fn a078_a_lost_answer_does_not_strand_the_client() {
        let room = room();
        let first = room.pair().await;
        let lost = room.refresh(&first.refresh_token).await.unwrap();
        room.clock.advance(Duration::from_hours(8));
        let found = room.refresh(&first.refresh_token).await.unwrap();
        assert_ne!(found.refresh_token, lost.refresh_token);
        assert!(room.works(&found).await);
        assert!(!room.works(&lost).await);
        assert!(is_invalid(&room.refresh(&lost.refresh_token).await));
        assert!(is_dead(&room, &found).await);
    }

    #[tokio::test]
    async fn a078_the_access_token_of_a_lost_answer_dies_at_once() {
        let room = room();
        let first = room.pair().await;
        let lost = room.refresh(&first.refresh_token).await.unwrap();
        let access = access_key(TokenHash::of(&lost.access_token));
        let record = room.store.get(&access).await.unwrap().unwrap();
        room.clock.advance(PAST_GRACE);
        let found = room.refresh(&first.refresh_token).await.unwrap();
        assert!(!room.works(&lost).await);
        // Even if the guard crashed before it could remove the token's record.
        let expiry = record.expires_at;
        room.store.put(&access, record.value, expiry).await.unwrap();
        assert!(!room.works(&lost).await);
        assert!(room.works(&first).await && room.works(&found).await);
    }

    #[tokio::test]
    async fn a078_answers_may_be_lost_again_and_again() {
        let room = room();
        let first = room.pair().await;
        for _ in 0..50 {
            room.refresh(&first.refresh_token).await.unwrap();
            room.clock.advance(PAST_GRACE);
        }
        let found = room.refresh(&first.refresh_token).await.unwrap();
        assert!(room.works(&found).await);
        assert!(room.refresh(&found.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn a079_another_client_neither_rotates_nor_revokes() {
        let room = room();
        let first = room.pair().await;
        let second = room.refresh(&first.refresh_token).await.unwrap();
        assert!(room.works(&second).await);
        room.clock.advance(PAST_GRACE);
        let stranger = ClientId("mcp_other".into());
        for token in [&first.refresh_token, &second.refresh_token] {
            let refused = room.grants.refresh(token, &stranger, None, None).await;
            assert!(is_invalid(&refused));
        }
        assert!(room.refresh(&second.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn a080_a_wider_scope_or_another_resource_changes_nothing() {
        let room = room();
        let pair = room.pair().await;
        let (token, client) = (&pair.refresh_token, &room.client);
        let before = room.store.scan("", None, 100).await.unwrap();
        let wider = Scopes("mcp admin".into());
        let refused = room.grants.refresh(token, client, Some(&wider), None).await;
        assert!(matches!(refused, Err(GrantError::WiderScope)));
        let other = ResourceUri("https://evil.test/mcp".into());
        let refused = room.grants.refresh(token, client, None, Some(&other)).await;
        assert!(matches!(refused, Err(GrantError::OtherResource)));
        assert_eq!(room.store.scan("", None, 100).await.unwrap(), before);
        assert!(room.refresh(token).await.is_ok());
    }

    #[tokio::test]
    async fn a080_a_narrower_token_does_not_narrow_the_grant() {
        let room = room();
        let first = room.pair().await;
        let narrow = Scopes("mcp".into());
        let token = &first.refresh_token;
        let second = room
            .grants
            .refresh(token, &room.client, Some(&narrow), Some(&room.resource))
            .await
            .unwrap();
        assert_eq!(second.scopes, narrow);
        assert_eq!(room.look(&second).await.unwrap().scopes, narrow);
        let third = room.refresh(&second.refresh_token).await.unwrap();
        assert_eq!(third.scopes, first.scopes);
    }

    #[tokio::test]
    async fn a086_tokens_never_outlive_their_grant() {
        let room = room();
        let mut pair = room.pair().await;
        for _ in 0..89 {
            room.clock.advance(Duration::from_hours(24));
            pair = room.refresh(&pair.refresh_token).await.unwrap();
        }
        room.clock.advance(Duration::from_mins(1430));
        pair = room.refresh(&pair.refresh_token).await.unwrap();
        assert!(pair.expires_in <= Duration::from_mins(10));
        assert!(pair.expires_in > Duration::from_mins(9));
        room.clock.advance(Duration::from_mins(10));
        assert!(is_dead(&room, &pair).await);
    }

    #[tokio::test]
    async fn a086_a_refresh_in_the_last_second_is_answered() {
        let room = room_with(Lifetimes {
            grant: Duration::from_secs(1000),
            ..LIFETIMES
        });
        let pair = room.pair().await;
        room.clock.advance(Duration::from_millis(999_500));
        match room.refresh(&pair.refresh_token).await {
            Ok(pair) => assert!(pair.expires_in >= Duration::from_secs(1)),
            refused => assert!(is_invalid(&refused)),
        }
    }

    #[tokio::test]
    async fn an_idle_grant_ends() {
        let room = room();
        let pair = room.pair().await;
        room.clock.advance(LIFETIMES.refresh_token);
        assert!(is_dead(&room, &pair).await);
        room.store.sweep().await.unwrap();
        assert!(room.keys("grant/").await.is_empty());
        assert!(room.keys("access/").await.is_empty());
    }

    #[tokio::test]
    async fn r02_a_refresh_that_the_store_refuses_loses_nothing() {
        let room = room();
        let pair = room.pair().await;
        let key = grant_key(&grant_of(&pair));
        let record = room.store.get(&key).await.unwrap().unwrap();
        room.store
            .put(&key, b"{".to_vec(), record.expires_at)
            .await
            .unwrap();
        let refused = room.refresh(&pair.refresh_token).await;
        assert!(matches!(refused, Err(GrantError::Store(_))));
        room.store
            .put(&key, record.value, record.expires_at)
            .await
            .unwrap();
        assert!(room.refresh(&pair.refresh_token).await.is_ok());
    }

    #[tokio::test]
    async fn r22_a_store_that_lost_its_last_second_is_no_reuse() {
        let room = room();
        let first = room.pair().await;
        let key = grant_key(&grant_of(&first));
        let old = room.store.get(&key).await.unwrap().unwrap();
        let second = room.refresh(&first.refresh_token).await.unwrap();
        room.store
            .put(&key, old.value, old.expires_at)
            .await
            .unwrap();
        let third = room.refresh(&second.refresh_token).await.unwrap();
        assert!(room.works(&third).await);
    }

    #[tokio::test]
    async fn r22_a_token_two_generations_ahead_is_refused_and_harms_nobody() {
        let room = room();
        let first = room.pair().await;
        let grant = grant_of(&first);
        for ahead in [2, 3, u32::MAX] {
            let minted = RefreshToken::mint(&room.keyring, &grant, ahead);
            assert!(is_invalid(&room.refresh(&minted).await), "{ahead}");
        }
        assert!(room.works(&first).await);
        let next = RefreshToken::mint(&room.keyring, &grant, 1);
        assert!(room.refresh(&next).await.is_ok());
    }

    #[tokio::test]
    async fn r29_fields_of_a_newer_version_survive_a_refresh() {
        let room = room();
        let pair = room.pair().await;
        let key = grant_key(&grant_of(&pair));
        let record = room.store.get(&key).await.unwrap().unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        json["cnf"] = "thumbprint".into();
        let value = serde_json::to_vec(&json).unwrap();
        room.store
            .put(&key, value, record.expires_at)
            .await
            .unwrap();
        room.refresh(&pair.refresh_token).await.unwrap();
        let record = room.store.get(&key).await.unwrap().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(json["cnf"], "thumbprint");
    }
}
