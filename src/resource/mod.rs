//! The protected resource: its metadata (RFC 9728), the challenge (RFC 6750 §3) and the step from a
//! bearer token to a [`Principal`].

mod bearer;
mod challenge;
mod metadata;

use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use challenge::Challenge;
use metadata::Metadata;

use crate::clock::{Clock, Timestamp};
use crate::crypto::TokenHash;
use crate::grant::{
    AccessToken, ClientId, GrantId, Grants, Mark, ResourceUri, Revocations, Scopes,
};
use crate::http::{ExternalUrl, Reply};
use crate::identity::Identity;

/// Who is calling, through what, allowed what.
#[derive(Clone, Debug)]
pub struct Principal {
    pub identity: Arc<Identity>,
    pub client: ClientId,
    pub grant: GrantId,
    pub scopes: Scopes,
    pub resource: ResourceUri,
    /// When the access token expires; long-lived streams end then.
    pub expires_at: Timestamp,
}

/// Why a request is not let in. [`ProtectedResource::refuse`] turns it into 401, 400 or 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No credentials at all: 401 without `error`.
    NoToken,
    /// Unknown, expired, revoked, of another resource or malformed: 401 `invalid_token`.
    InvalidToken,
    /// Two credentials, or one in the query: 400 `invalid_request`.
    InvalidRequest(&'static str),
    /// The store did not answer: 503 with `Retry-After`.
    Unavailable,
}

/// How long a token's meaning is remembered: the revocation delay between guards that share a store.
const REMEMBERED: Duration = Duration::from_secs(5);

/// How many tokens are remembered.
const CAPACITY: usize = 10_000;

/// How often a lookup starts over because its grant was revoked, or a token of it, meanwhile.
const ATTEMPTS: usize = 8;

/// One guarded MCP endpoint.
pub struct ProtectedResource {
    uri: ResourceUri,
    challenge: Challenge,
    metadata: Metadata,
    grants: Grants,
    revocations: Arc<Revocations>,
    clock: Clock,
    cache: Cache<TokenHash, Known>,
}

/// A token that was looked up.
#[derive(Clone)]
struct Known {
    principal: Arc<Principal>,
    mark: Mark,
    until: Instant,
}

impl ProtectedResource {
    /// `path` is the endpoint's public path below the external URL, e.g. `/mcp`.
    pub fn new(external: ExternalUrl, path: &str, grants: Grants, clock: Clock) -> Arc<Self> {
        let uri = ResourceUri(external.join(path));
        Arc::new(Self {
            challenge: Challenge::new(&external.well_known("oauth-protected-resource", path)),
            metadata: Metadata::new(&uri, &external),
            uri,
            revocations: grants.revocation_marks(),
            grants,
            clock,
            cache: Cache::new(CAPACITY),
        })
    }

    /// The canonical resource URL.
    pub fn uri(&self) -> &ResourceUri {
        &self.uri
    }

    /// Bearer token → principal. At most 2 µs when cached; the cache forgets within 5 s, and at once
    /// on a local revocation.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Arc<Principal>, Denied> {
        let hash = TokenHash::of(bearer::token(headers, query)?);
        match self.known(hash) {
            Some(principal) => Ok(principal),
            None => self.look_up(hash).await,
        }
    }

    /// The refusal with its `WWW-Authenticate` challenge; a body of JSON, or none, unless `html`, the
    /// page for a person who opened the MCP URL in a browser.
    pub fn refuse(&self, denied: Denied, html: Option<String>) -> Reply {
        self.challenge.refuse(denied, html)
    }

    /// The RFC 9728 document.
    pub fn metadata(&self) -> Reply {
        self.metadata.reply()
    }

    /// No lock but the cache's shard for reading, and no allocation.
    fn known(&self, hash: TokenHash) -> Option<Arc<Principal>> {
        let known = self.cache.get(&hash)?;
        let good = Instant::now() < known.until
            && self.clock.now() < known.principal.expires_at
            && self.revocations.is_current(known.mark);
        good.then_some(known.principal)
    }

    /// Asks the store, and makes sure that what it said is not overtaken: neither this answer nor
    /// what is remembered of it may be older than a revocation that has returned.
    async fn look_up(&self, hash: TokenHash) -> Result<Arc<Principal>, Denied> {
        let mut asked = Instant::now();
        let before = self.revocations.total();
        let mut principal = self.fetch(hash).await?;
        let mut mark = self.revocations.mark_of(&principal.grant);
        let mut settled = self.revocations.total() == before;
        for _ in 0..ATTEMPTS {
            if settled {
                let principal = Arc::new(principal);
                let known = Known {
                    principal: Arc::clone(&principal),
                    mark,
                    until: asked + REMEMBERED,
                };
                self.cache.insert(hash, known);
                return Ok(principal);
            }
            // Something was revoked meanwhile. The grant is known now: watch that one alone.
            asked = Instant::now();
            mark = self.revocations.mark_of(&principal.grant);
            principal = self.fetch(hash).await?;
            settled = self.revocations.is_current(mark);
        }
        Err(Denied::Unavailable)
    }

    /// What the store says.
    async fn fetch(&self, hash: TokenHash) -> Result<Principal, Denied> {
        let found = self.grants.access_token(hash).await.map_err(|error| {
            tracing::error!(token = %hash.short(), %error, "a token could not be checked");
            Denied::Unavailable
        })?;
        let Some(token) = found else {
            self.cache.remove(&hash);
            return Err(Denied::InvalidToken);
        };
        // Two guards may share a store.
        if token.resource != self.uri {
            tracing::warn!(grant = %token.grant.0, resource = ?token.resource.0,
                "a token of another resource was refused");
            return Err(Denied::InvalidToken);
        }
        Ok(Principal::from(token))
    }
}

impl From<AccessToken> for Principal {
    fn from(token: AccessToken) -> Self {
        Self {
            identity: token.identity,
            client: token.client,
            grant: token.grant,
            scopes: token.scopes,
            resource: token.resource,
            expires_at: token.expires_at,
        }
    }
}
