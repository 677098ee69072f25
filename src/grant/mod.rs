//! Grants: one authorization by one subject for one client, and the family of codes, access tokens
//! and refresh tokens that belong to it and die with it.
//!
//! `oauth` creates and moves grants; `resource` only reads them. Both go through [`Grants`], so that
//! the rules of design rule D-05 (rotation with an idempotent grace) stand in one place.

mod access_token;
mod code;
mod pkce;
mod refresh_token;

pub use pkce::CodeChallenge;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::{Clock, Timestamp};
use crate::crypto::{Keyring, TokenHash};
use crate::identity::Identity;
use crate::store::{Store, StoreError};

/// The id of a registered client: 22 characters of base64url behind `mcp_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub String);

/// The id of a grant: 22 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(pub String);

/// The canonical URL of a guarded MCP endpoint (RFC 8707 §2, RFC 9728 §1.2).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceUri(pub String);

/// A set of scopes, space-separated on the wire (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scopes(pub String);

/// How long credentials live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    pub code: Duration,
    pub access_token: Duration,
    /// Idle: since the last refresh.
    pub refresh_token: Duration,
    /// Absolute: since the sign-in.
    pub grant: Duration,
    /// How long a superseded refresh token still yields the pair that replaced it.
    pub refresh_grace: Duration,
}

/// What a person approved: the content of an authorization code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Approval {
    pub identity: Identity,
    pub client: ClientId,
    /// As it was in the authorization request, loopback port included.
    pub redirect_uri: String,
    pub code_challenge: CodeChallenge,
    pub scopes: Scopes,
    pub resource: ResourceUri,
}

/// An access token's meaning, as `resource` sees it.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub identity: Arc<Identity>,
    pub client: ClientId,
    pub grant: GrantId,
    pub scopes: Scopes,
    pub resource: ResourceUri,
    pub expires_at: Timestamp,
}

/// What the token endpoint hands out (RFC 6749 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    pub expires_in: Duration,
    pub scopes: Scopes,
}

/// What a client presents with a code.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    pub code: &'a str,
    pub client: &'a ClientId,
    pub redirect_uri: Option<&'a str>,
    pub code_verifier: Option<&'a str>,
    pub resource: Option<&'a ResourceUri>,
}

/// Why no tokens were issued. Clients delete their credentials on `Invalid`: it is said only when
/// the grant is dead or was never theirs.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// `invalid_grant`; the text is for the client's developer.
    #[error("{0}")]
    Invalid(&'static str),
    /// `invalid_target` (RFC 8707 §2).
    #[error("the token is for another resource")]
    OtherResource,
    /// `invalid_scope`: more than was granted.
    #[error("the scope exceeds what was granted")]
    WiderScope,
    /// 503.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All grants. Cheap to clone.
#[derive(Clone)]
pub struct Grants {
    _store: Store,
    _keyring: Keyring,
    _clock: Clock,
    _lifetimes: Lifetimes,
    _revoked: broadcast::Sender<GrantId>,
}

impl Grants {
    pub fn new(store: Store, keyring: Keyring, clock: Clock, lifetimes: Lifetimes) -> Self {
        Self {
            _store: store,
            _keyring: keyring,
            _clock: clock,
            _lifetimes: lifetimes,
            _revoked: broadcast::channel(1024).0,
        }
    }

    /// A code (`mgc_…`) for what was approved. Single use, within [`Lifetimes::code`].
    pub async fn issue_code(&self, approval: Approval) -> Result<String, StoreError> {
        let _ = approval;
        todo!()
    }

    /// Exchanges a code for the first pair of a new grant (RFC 6749 §4.1.3; A-070 … A-075).
    pub async fn redeem(&self, redemption: Redemption<'_>) -> Result<TokenPair, GrantError> {
        let _ = redemption;
        todo!()
    }

    /// Rotates a refresh token (RFC 6749 §6, design rule D-05; A-076 … A-080). `scopes`: `None`
    /// or a subset of what was granted.
    pub async fn refresh(
        &self,
        refresh_token: &str,
        client: &ClientId,
        scopes: Option<&Scopes>,
        resource: Option<&ResourceUri>,
    ) -> Result<TokenPair, GrantError> {
        let _ = (refresh_token, client, scopes, resource);
        todo!()
    }

    /// What an access token stands for, or `None` if it is unknown, expired or revoked. The first
    /// sight of the newest token confirms its generation (D-05 c).
    pub async fn access_token(&self, hash: TokenHash) -> Result<Option<AccessToken>, StoreError> {
        let _ = hash;
        todo!()
    }

    /// RFC 7009: an access token dies alone, a refresh token takes its family with it. Unknown
    /// tokens, and those of another client, are ignored.
    pub async fn revoke_token(&self, token: &str, client: &ClientId) -> Result<(), StoreError> {
        let _ = (token, client);
        todo!()
    }

    /// Ends a grant and all that belongs to it.
    pub async fn revoke(&self, grant: &GrantId) -> Result<(), StoreError> {
        let _ = grant;
        todo!()
    }

    /// Whether any grant of this client lives.
    pub async fn has_grants(&self, client: &ClientId) -> Result<bool, StoreError> {
        let _ = client;
        todo!()
    }

    /// Hears of every grant that ends by revocation, and of grants one of whose access tokens was
    /// revoked: what was cached or streams for it must go.
    pub fn revocations(&self) -> broadcast::Receiver<GrantId> {
        todo!()
    }
}
