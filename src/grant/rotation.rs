//! Refreshing (RFC 6749 §6) by the rule "confirm by use, idempotent in grace" (design rule D-05):
//! a refresh token is good once, and yet a client whose answer was lost, or whose several processes
//! refresh at once, keeps its grant.
//!
//! A family knows two refresh tokens, the newest and the one that it replaced. Presented is
//! * the newest: it is replaced;
//! * the replaced one, within the grace: the same pair again, which lies sealed under this token;
//! * the replaced one, later, and no token of the newest pair was ever seen: the answer was lost.
//!   The pair is replaced by another;
//! * any other that was once ours: two parties hold the family, and it ends.
//!
//! Everything is checked before anything is written, and one `swap` of the grant record decides.

use std::time::Duration;

use super::record::{GrantRecord, Versioned, contended};
use super::refresh_token::RefreshToken;
use super::{ClientId, GrantError, Grants, ResourceUri, Scopes, TokenPair};
use crate::clock::Timestamp;
use crate::crypto::TokenHash;

/// How often a confirmed pair is handed out again. While nobody has used it, repeating it gives
/// nothing away that replacing it would not, so a burst of parallel refreshes is not counted.
const MAX_REPEATS: u32 = 20;

/// Each lost `swap` means that somebody else's succeeded; this many in a row, and the client is
/// asked to come back.
const ATTEMPTS: usize = 64;

/// What a genuine refresh token means to its family.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The newest: replace it.
    Rotate,
    /// The newest pair was lost on the way: replace it too.
    Replace,
    /// The newest pair, once more.
    Repeat,
    /// Theft, or as good as.
    Reuse,
}

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
            client = ?record.client.0, subject = ?record.identity.subject.as_str(),
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
        if record.newest.confirmed {
            previous.repeats = previous.repeats.saturating_add(1);
            let repeats = previous.repeats;
            if !self.swap(grant, version, &record).await? {
                return Ok(None);
            }
            tracing::info!(event = "refresh_repeated", grant = %grant.0, repeats,
                client = ?record.client.0, "a superseded refresh token came within the grace");
        }
        Ok(Some(pair))
    }

    /// Ends the family.
    async fn reused(
        &self,
        record: &GrantRecord,
        presented: &Presented<'_>,
    ) -> Result<GrantError, GrantError> {
        let token = &presented.token;
        tracing::warn!(event = "refresh_reuse", grant = %token.grant.0, client = ?record.client.0,
            subject = ?record.identity.subject.as_str(), generation = token.generation,
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
                client = ?self.client.0, owner = ?record.client.0, "a refresh token was refused");
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

fn judge(
    family: &GrantRecord,
    presented: TokenHash,
    generation: u32,
    now: Timestamp,
    grace: Duration,
) -> Verdict {
    // Genuine and newer than the store knows: the store lost its last writes, not the client its
    // honesty.
    if presented == family.newest.refresh || generation > family.newest.number {
        return Verdict::Rotate;
    }
    let Some(previous) = family
        .previous
        .as_ref()
        .filter(|it| it.refresh == presented)
    else {
        return Verdict::Reuse;
    };
    let in_grace = now.since(family.newest.issued_at) <= grace;
    match (in_grace, family.newest.confirmed) {
        (true, true) if previous.repeats >= MAX_REPEATS => Verdict::Reuse,
        (true, _) => Verdict::Repeat,
        (false, false) => Verdict::Replace,
        (false, true) => Verdict::Reuse,
    }
}
