//! One generation of a family: the access token and the refresh token that are handed out together.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use std::time::Duration;

use super::credential::{self, ACCESS_TOKEN};
use super::record::{AccessRecord, Generation, Superseded, access_key, encode};
use super::refresh_token::RefreshToken;
use super::{GrantId, Grants, Scopes, TokenPair};
use crate::clock::Timestamp;
use crate::crypto::{self, TokenHash};
use crate::store::StoreError;

/// A pair that nothing in the store knows yet.
pub(super) struct Minted {
    pub(super) generation: Generation,
    pair: SealedPair,
}

/// What the holder of the superseded refresh token gets again.
#[derive(Serialize, Deserialize)]
struct SealedPair {
    access_token: String,
    refresh_token: String,
    scopes: Scopes,
    access_until: Timestamp,
}

impl Grants {
    /// A fresh pair, none of whose tokens outlives `grant_expiry`.
    pub(super) fn mint(
        &self,
        grant: &GrantId,
        number: u32,
        scopes: Scopes,
        now: Timestamp,
        grant_expiry: Timestamp,
    ) -> Minted {
        let pair = SealedPair {
            access_token: credential::fresh(ACCESS_TOKEN),
            refresh_token: RefreshToken::mint(&self.keyring, grant, number),
            scopes,
            access_until: now.after(self.lifetimes.access_token).min(grant_expiry),
        };
        let generation = Generation {
            number,
            refresh: TokenHash::of(&pair.refresh_token),
            access: TokenHash::of(&pair.access_token),
            issued_at: now,
            refresh_until: now.after(self.lifetimes.refresh_token).min(grant_expiry),
            access_until: pair.access_until,
            confirmed: false,
        };
        Minted { generation, pair }
    }

    /// Writes the access token's record. Until the grant's record names the generation as handed
    /// out, nobody holds the token, so this comes first and a crash in between costs a dead row.
    pub(super) async fn put_access(
        &self,
        grant: &GrantId,
        minted: &Minted,
    ) -> Result<(), StoreError> {
        let access = AccessRecord {
            grant: grant.clone(),
            generation: minted.generation.number,
            scopes: minted.pair.scopes.clone(),
            expires_at: minted.generation.access_until,
        };
        let key = access_key(minted.generation.access);
        let value = encode(&key, &access)?;
        self.store.put(&key, value, Some(access.expires_at)).await?;
        Ok(())
    }
}

impl Minted {
    pub(super) fn into_pair(self, now: Timestamp) -> TokenPair {
        self.pair.hand_out(now)
    }

    /// The pair as the replaced token's holder may open it, and nobody else: not the store.
    pub(super) fn seal(
        &self,
        replaced: &RefreshToken,
        text: &str,
    ) -> Result<Superseded, StoreError> {
        let plain = encode("grant", &self.pair)?;
        Ok(Superseded {
            number: replaced.generation,
            refresh: TokenHash::of(text),
            sealed_pair: URL_SAFE_NO_PAD.encode(crypto::seal_under(text.as_bytes(), &plain)),
            repeats: 0,
            handed_out_at: None,
        })
    }
}

impl Superseded {
    /// The pair that replaced the token `text`, once more.
    pub(super) fn open(&self, text: &str, now: Timestamp) -> Result<TokenPair, StoreError> {
        let pair: Option<SealedPair> = URL_SAFE_NO_PAD
            .decode(&self.sealed_pair)
            .ok()
            .and_then(|sealed| crypto::open_under(text.as_bytes(), &sealed))
            .and_then(|plain| serde_json::from_slice(&plain).ok());
        let pair = pair.ok_or_else(|| StoreError::Damaged {
            key: "grant".to_owned(),
            what: "the sealed pair does not open".to_owned(),
        })?;
        Ok(pair.hand_out(now))
    }
}

impl SealedPair {
    fn hand_out(self, now: Timestamp) -> TokenPair {
        TokenPair {
            access_token: self.access_token,
            refresh_token: self.refresh_token,
            // Never zero: a client that finds the token dead refreshes with its new one.
            expires_in: self.access_until.since(now).max(Duration::from_secs(1)),
            scopes: self.scopes,
        }
    }
}
