//! Authorization codes: issued when a person approves, redeemed once.
//!
//! A code's record is never changed. It names the grant that the code will become, and what makes
//! the code single-use is that a grant record can be created only once: one atomic step, before
//! which nothing is consumed and after which a crash leaves a code that is spent and
//! tokens that nobody saw. The code's record outlives the code by [`REPLAY_MEMORY`], and a
//! revoked grant's record outlives that, so a replay is known for one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::credential::{self, CODE};
use super::pair::Minted;
use super::record::{GrantRecord, client_prefix, decode, encode, grant_key};
use super::{Approval, GrantError, GrantId, Grants, Redemption, TokenPair};
use crate::clock::Timestamp;
use crate::crypto::{TokenHash, random};
use crate::store::StoreError;

/// How long after its expiry a code is still recognised as replayed.
pub(super) const REPLAY_MEMORY: Duration = Duration::from_mins(10);

/// A second redemption this soon is taken for a client that sent twice, not for theft.
const DOUBLE_SEND: Duration = Duration::from_secs(1);

const UNKNOWN: GrantError = GrantError::Invalid("the code is unknown or has expired");
const SPENT: GrantError = GrantError::Invalid("the code was used before");

/// One code, `code/<hash>`.
#[derive(Serialize, Deserialize)]
pub(super) struct CodeRecord {
    approval: Approval,
    /// The grant that the code becomes.
    grant: GrantId,
    expires_at: Timestamp,
}

impl Grants {
    /// A code (`mgc_…`) for what was approved. Single use, within [`super::Lifetimes::code`].
    pub async fn issue_code(&self, approval: Approval) -> Result<String, StoreError> {
        let code = credential::fresh(CODE);
        let record = CodeRecord {
            approval,
            grant: GrantId(random::id()),
            expires_at: self.clock.now().after(self.lifetimes.code),
        };
        let key = code_key(&code);
        let value = encode(&key, &record)?;
        let until = record.expires_at.after(REPLAY_MEMORY);
        self.store.put(&key, value, Some(until)).await?;
        Ok(code)
    }

    /// Exchanges a code for the first pair of a new grant (RFC 6749 §4.1.3; A-070 … A-075).
    pub async fn redeem(&self, redemption: Redemption<'_>) -> Result<TokenPair, GrantError> {
        let code = self.find_code(redemption.code).await?.ok_or(UNKNOWN)?;
        code.check(&redemption)?;
        if let Some(spent) = self.load(&code.grant).await? {
            return Err(self.replayed(&code, &spent.record).await?);
        }
        let now = self.clock.now();
        if now >= code.expires_at {
            return Err(UNKNOWN);
        }
        self.begin(code, now).await
    }

    async fn find_code(&self, text: &str) -> Result<Option<CodeRecord>, StoreError> {
        if !credential::is_well_formed(CODE, text.as_bytes()) {
            return Ok(None);
        }
        let key = code_key(text);
        let found = self.store.get(&key).await?;
        found.map(|found| decode(&key, &found)).transpose()
    }

    /// A redemption that is right in every point, but not the first: whoever sends it holds the
    /// verifier, so code and verifier are both in two hands (OAuth 2.1 §4.1.3).
    async fn replayed(
        &self,
        code: &CodeRecord,
        grant: &GrantRecord,
    ) -> Result<GrantError, GrantError> {
        let age = self.clock.now().since(grant.created_at);
        if grant.revoked_at.is_none() && age > DOUBLE_SEND {
            tracing::warn!(event = "code_replay", grant = %code.grant.0, client = grant.client.0.as_str(),
                subject = grant.identity.subject.as_str(), "a code was redeemed twice");
            self.revoke(&code.grant).await?;
        }
        Ok(SPENT)
    }

    /// The one success.
    async fn begin(&self, code: CodeRecord, now: Timestamp) -> Result<TokenPair, GrantError> {
        let CodeRecord {
            approval, grant, ..
        } = code;
        let expires_at = now.after(self.lifetimes.grant);
        let mut minted = self.mint(&grant, 0, approval.scopes.clone(), now, expires_at);
        // There is no predecessor to fall back to, so nothing to confirm either.
        minted.generation.confirmed = true;
        let record = GrantRecord::new(approval, now, expires_at, minted.generation.clone());
        if !self.create(&grant, &record, &minted).await? {
            self.discard_access(minted.generation.access).await;
            return Err(SPENT);
        }
        tracing::info!(event = "token_issued", grant = %grant.0, client = record.client.0.as_str(),
            subject = record.identity.subject.as_str(), "a code was redeemed");
        Ok(minted.into_pair(now))
    }

    /// Writes what belongs to a grant, then the grant; whether it was not there before.
    async fn create(
        &self,
        grant: &GrantId,
        record: &GrantRecord,
        minted: &Minted,
    ) -> Result<bool, StoreError> {
        let index = format!("{}{}", client_prefix(&record.client), grant.0);
        self.store
            .put(&index, Vec::new(), Some(record.expires_at))
            .await?;
        self.put_access(grant, minted).await?;
        let key = grant_key(grant);
        let value = encode(&key, record)?;
        let until = self.kept_until(record);
        Ok(self.store.create(&key, value, Some(until)).await?.is_some())
    }
}

impl CodeRecord {
    /// Everything that can be wrong with a redemption. Nothing of this burns the code: the verifier
    /// has 256 bits, and a thief who could burn codes could lock people out.
    fn check(&self, presented: &Redemption<'_>) -> Result<(), GrantError> {
        let approval = &self.approval;
        if approval.client != *presented.client {
            tracing::warn!(event = "code_of_another_client", grant = %self.grant.0,
                client = presented.client.0.as_str(), owner = approval.client.0.as_str(), "a code was refused");
            return Err(GrantError::Invalid("the code was issued to another client"));
        }
        if presented
            .redirect_uri
            .is_some_and(|uri| uri != approval.redirect_uri)
        {
            return Err(GrantError::Invalid(
                "redirect_uri differs from that of the authorization request",
            ));
        }
        let verifier = presented.code_verifier.unwrap_or_default();
        if !approval.code_challenge.matches(verifier) {
            return Err(GrantError::Invalid(
                "code_verifier does not match the challenge",
            ));
        }
        if presented
            .resource
            .is_some_and(|resource| *resource != approval.resource)
        {
            return Err(GrantError::OtherResource);
        }
        Ok(())
    }
}

fn code_key(code: &str) -> String {
    format!("code/{}", TokenHash::of(code).to_text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::testing::{LIFETIMES, in_parallel, is_invalid, room, room_with};
    use crate::grant::{ClientId, Lifetimes, ResourceUri};

    #[tokio::test]
    async fn a_code_becomes_what_was_approved() {
        let room = room();
        let code = room.code().await;
        let pair = room.redeem(&code).await.unwrap();
        assert_eq!(code.len(), 47);
        assert_eq!(pair.expires_in, LIFETIMES.access_token);
        assert_eq!(pair.scopes, room.approval().scopes);
        let token = room.look(&pair).await.unwrap();
        assert_eq!(*token.identity, room.approval().identity);
        assert_eq!((token.client, token.resource), (room.client, room.resource));
    }

    #[tokio::test]
    async fn a070_a_late_replay_ends_the_family() {
        let room = room();
        let bystander = room.pair().await;
        let code = room.code().await;
        let pair = room.redeem(&code).await.unwrap();
        room.clock.advance(Duration::from_secs(2));
        assert!(is_invalid(&room.redeem(&code).await));
        assert!(!room.works(&pair).await);
        assert!(is_invalid(&room.refresh(&pair.refresh_token).await));
        assert!(room.works(&bystander).await);
    }

    #[tokio::test]
    async fn a070_a_replay_is_recognised_until_ten_minutes_after_the_codes_expiry() {
        for (later, recognised) in [(650, true), (661, false)] {
            let room = room();
            let code = room.code().await;
            let pair = room.redeem(&code).await.unwrap();
            room.clock.advance(Duration::from_secs(later));
            assert!(is_invalid(&room.redeem(&code).await));
            assert_eq!(!room.works(&pair).await, recognised);
        }
    }

    #[tokio::test]
    async fn a070_a_code_cannot_be_redeemed_anew_after_its_grant_was_revoked() {
        // Even where a grant is configured to be forgotten sooner than its code.
        let room = room_with(Lifetimes {
            access_token: Duration::from_secs(5),
            refresh_token: Duration::from_secs(5),
            ..LIFETIMES
        });
        let code = room.code().await;
        let pair = room.redeem(&code).await.unwrap();
        room.clock.advance(Duration::from_secs(10));
        assert!(is_invalid(&room.redeem(&code).await));
        assert!(is_invalid(&room.redeem(&code).await));
        assert!(!room.works(&pair).await);
        assert_eq!(room.keys("grant/").await.len(), 1);
    }

    #[tokio::test]
    async fn a071_a_replay_without_the_verifier_harms_nobody() {
        let room = room();
        let code = room.code().await;
        let pair = room.redeem(&code).await.unwrap();
        room.clock.advance(Duration::from_secs(2));
        let stranger = ClientId("mcp_other".into());
        let good = room.redemption(&code);
        for replay in [
            Redemption {
                code_verifier: Some(&"x".repeat(43)),
                ..good
            },
            Redemption {
                code_verifier: None,
                ..good
            },
            Redemption {
                client: &stranger,
                ..good
            },
            Redemption {
                redirect_uri: Some("http://127.0.0.1:1/cb"),
                ..good
            },
        ] {
            assert!(is_invalid(&room.grants.redeem(replay).await));
        }
        assert!(room.works(&pair).await);
    }

    #[tokio::test]
    async fn a072_a_redemption_with_bad_parameters_does_not_burn_the_code() {
        let room = room();
        let code = room.code().await;
        let good = room.redemption(&code);
        for _ in 0..20 {
            let wrong = Redemption {
                code_verifier: Some(&"x".repeat(43)),
                ..good
            };
            assert!(is_invalid(&room.grants.redeem(wrong).await));
        }
        let elsewhere = ResourceUri("https://evil.test/mcp".into());
        let wrong = Redemption {
            resource: Some(&elsewhere),
            ..good
        };
        let refused = room.grants.redeem(wrong).await;
        assert!(matches!(refused, Err(GrantError::OtherResource)));
        assert!(room.redeem(&code).await.is_ok());
    }

    #[tokio::test]
    async fn a073_another_client_gets_nothing_and_burns_nothing() {
        let room = room();
        let code = room.code().await;
        let stranger = ClientId("mcp_other".into());
        let stolen = Redemption {
            client: &stranger,
            ..room.redemption(&code)
        };
        assert!(is_invalid(&room.grants.redeem(stolen).await));
        assert!(room.redeem(&code).await.is_ok());
    }

    #[tokio::test]
    async fn a074_the_redirect_uri_must_be_the_same_down_to_the_port() {
        let room = room();
        let code = room.code().await;
        let other = Redemption {
            redirect_uri: Some("http://127.0.0.1:1235/cb"),
            ..room.redemption(&code)
        };
        assert!(is_invalid(&room.grants.redeem(other).await));
        let absent = Redemption {
            redirect_uri: None,
            ..room.redemption(&code)
        };
        assert!(room.grants.redeem(absent).await.is_ok());
    }

    #[tokio::test]
    async fn a075_of_64_parallel_redemptions_one_succeeds_and_its_token_lives() {
        let room = room();
        let code = room.code().await;
        let results = in_parallel(64, async || room.redeem(&code).await);
        assert!(
            results
                .iter()
                .all(|result| result.is_ok() || is_invalid(result))
        );
        let pairs: Vec<_> = results.into_iter().flatten().collect();
        assert_eq!(pairs.len(), 1);
        assert!(room.works(&pairs[0]).await);
        assert_eq!(room.keys("access/").await.len(), 1);
    }

    #[tokio::test]
    async fn a075_a_client_that_sends_twice_keeps_its_tokens() {
        let room = room();
        let code = room.code().await;
        let pair = room.redeem(&code).await.unwrap();
        assert!(is_invalid(&room.redeem(&code).await));
        assert!(room.works(&pair).await);
    }

    #[tokio::test]
    async fn an_expired_code_is_refused() {
        let room = room();
        let code = room.code().await;
        room.clock.advance(LIFETIMES.code);
        assert!(is_invalid(&room.redeem(&code).await));
        assert!(room.keys("grant/").await.is_empty());
    }

    #[tokio::test]
    async fn unknown_and_malformed_codes_are_refused() {
        let room = room();
        let code = room.code().await;
        for odd in [
            "",
            "mgc_",
            &code[..46],
            &code.replace("mgc_", "mga_"),
            &"x".repeat(1 << 20),
        ] {
            assert!(is_invalid(&room.redeem(odd).await));
        }
        assert!(is_invalid(&room.redeem(&credential::fresh(CODE)).await));
    }

    #[tokio::test]
    async fn r04_trouble_with_the_store_is_never_an_invalid_grant() {
        let room = room();
        let code = room.code().await;
        room.store.close().await;
        let result = room.redeem(&code).await;
        assert!(matches!(result, Err(GrantError::Store(_))));
    }

    #[tokio::test]
    async fn a140_no_credential_is_in_the_store() {
        let room = room();
        let code = room.code().await;
        let first = room.redeem(&code).await.unwrap();
        let second = room.refresh(&first.refresh_token).await.unwrap();
        let mut canaries = vec![code];
        for pair in [first, second] {
            canaries.extend([pair.access_token, pair.refresh_token]);
        }
        for (key, record) in room.store.scan("", None, 1000).await.unwrap() {
            let value = String::from_utf8_lossy(&record.value).into_owned();
            for canary in &canaries {
                let secret = &canary[canary.len() - 40..];
                assert!(!key.contains(secret) && !value.contains(secret), "{key}");
            }
        }
    }
}
