//! Grants: one authorization by one subject for one client, and the family of codes, access tokens
//! and refresh tokens that belong to it and die with it.
//!
//! `oauth` creates and moves grants; `resource` only reads them. Both go through [`Grants`], so that
//! the rules of design rule D-05 (rotation with an idempotent grace) stand in one place.

mod access_token;
mod code;
mod credential;
#[cfg(test)]
mod model;
mod pair;
mod pkce;
mod record;
mod refresh_token;
mod revocation;
mod rotation;
#[cfg(test)]
pub(crate) mod testing;
mod verdict;

pub use pkce::CodeChallenge;
pub use revocation::{Mark, Revocations};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::{Clock, Timestamp};
use crate::crypto::Keyring;
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

/// Where clients of the older HTTP+SSE transport find the guarded endpoint, below the external URL.
/// Its URL is a second name of the one resource, not another resource: the same server answers, to
/// the same people, so a token for the one is good at the other.
pub const SSE_PATH: &str = "/sse";

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
#[derive(Clone, PartialEq, Eq)]
pub struct TokenPair {
    pub access_token: String,
    pub refresh_token: String,
    /// What remains of the access token's life: at least a second.
    pub expires_in: Duration,
    pub scopes: Scopes,
}

impl fmt::Debug for TokenPair {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenPair")
            .field("expires_in", &self.expires_in)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// What a client presents with a code.
#[derive(Clone, Copy)]
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

/// All grants. Cheap to clone; clones share the state.
///
/// Each file of this room adds its part: `code` issues and redeems, `rotation` refreshes,
/// `access_token` looks up, `revocation` ends.
#[derive(Clone)]
pub struct Grants {
    store: Store,
    keyring: Keyring,
    clock: Clock,
    lifetimes: Lifetimes,
    revocations: Arc<Revocations>,
}

impl Grants {
    pub fn new(store: Store, keyring: Keyring, clock: Clock, lifetimes: Lifetimes) -> Self {
        Self {
            store,
            keyring,
            clock,
            lifetimes,
            revocations: Arc::default(),
        }
    }

    /// Hears of every grant that ends by revocation, and of grants one of whose access tokens was
    /// revoked: what was cached or streams for it must go.
    pub fn revocations(&self) -> broadcast::Receiver<GrantId> {
        self.revocations.subscribe()
    }

    /// For caches: which grants were touched by a revocation in this process.
    pub fn revocation_marks(&self) -> Arc<Revocations> {
        Arc::clone(&self.revocations)
    }
}

impl Scopes {
    /// Whether every scope of `self` is among `granted`'s.
    fn within(&self, granted: &Self) -> bool {
        self.0
            .split_ascii_whitespace()
            .all(|scope| granted.0.split_ascii_whitespace().any(|has| has == scope))
    }
}
