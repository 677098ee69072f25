//! The protected resource: its metadata (RFC 9728), the challenge (RFC 6750 §3) and the step from a
//! bearer token to a [`Principal`].

mod bearer;
mod challenge;
mod metadata;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::HeaderMap;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use challenge::Challenge;
use metadata::Metadata;

pub use crate::grant::SSE_PATH;

use crate::clock::{Clock, Timestamp};
use crate::crypto::TokenHash;
use crate::grant::{
    AccessToken, ClientId, GrantId, Grants, Mark, ResourceUri, Revocations, Scopes,
};
use crate::http::headers::Constant;
use crate::http::{ExternalUrl, Reply};
use crate::identity::{Identity, IdentityProviders};

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
    /// The header fields that a wrapped server is told of them by, made at the first call.
    pub told: OnceLock<Constant>,
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

/// How clients reach the guarded server: two URLs, and one resource behind both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The canonical URL.
    StreamableHttp,
    /// HTTP+SSE of 2024-11-05, at [`SSE_PATH`].
    HttpSse,
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
    streamable_http: Description,
    http_sse: Description,
    grants: Grants,
    identity: Arc<IdentityProviders>,
    revocations: Arc<Revocations>,
    clock: Clock,
    cache: Cache<TokenHash, Known>,
}

/// What a client reads at one of the guarded server's URLs. The document there must name that URL:
/// clients compare it with the one they were given (RFC 9728 §3.3).
struct Description {
    challenge: Challenge,
    metadata: Metadata,
}

impl Description {
    fn of(external: &ExternalUrl, path: &str) -> Self {
        Self {
            challenge: Challenge::new(&external.well_known("oauth-protected-resource", path)),
            metadata: Metadata::new(&ResourceUri(external.join(path)), external),
        }
    }
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
    pub fn new(
        external: &ExternalUrl,
        path: &str,
        grants: Grants,
        identity: Arc<IdentityProviders>,
        clock: Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            uri: ResourceUri(external.join(path)),
            streamable_http: Description::of(external, path),
            http_sse: Description::of(external, SSE_PATH),
            revocations: grants.revocation_marks(),
            grants,
            identity,
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
            // Boxed: it is rare, and large beside what a remembered token needs.
            None => Box::pin(self.look_up(hash)).await,
        }
    }

    /// The refusal with its `WWW-Authenticate` challenge: JSON or nothing, or on `page`, which is for
    /// a person who opened the MCP URL in a browser.
    pub fn refuse(&self, at: Transport, denied: Denied, page: Option<Reply>) -> Reply {
        self.description(at).challenge.refuse(denied, page)
    }

    /// Forgets what was looked up, because the rules on who may come in have changed.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// The RFC 9728 document.
    pub fn metadata(&self, at: Transport) -> Reply {
        self.description(at).metadata.reply()
    }

    fn description(&self, at: Transport) -> &Description {
        match at {
            Transport::StreamableHttp => &self.streamable_http,
            Transport::HttpSse => &self.http_sse,
        }
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
            tracing::warn!(grant = %token.grant.0, resource = token.resource.0.as_str(),
                "a token of another resource was refused");
            return Err(Denied::InvalidToken);
        }
        // Whom the rules no longer let in stays outside, whatever the token's life.
        if let Err(refusal) = self.identity.admits(&token.identity) {
            tracing::warn!(event = "user_removed", grant = %token.grant.0,
                subject = %token.identity.subject, missing = refusal.missing,
                "a token of a user who is no longer let in was refused");
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
            told: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{AUTHORIZATION, HeaderValue};

    use super::*;
    use crate::crypto::Keyring;
    use crate::grant::TokenPair;
    use crate::grant::testing::{LIFETIMES, RESOURCE, Room, in_parallel, room};
    use crate::identity::testing::local_users;

    fn guarded(room: &Room, external: &str) -> Arc<ProtectedResource> {
        let external = ExternalUrl::parse(external).unwrap();
        let users = local_users(&["owner"], "");
        ProtectedResource::new(
            &external,
            "/mcp",
            room.grants.clone(),
            users,
            room.clock.clone(),
        )
    }

    fn headers(pair: &TokenPair) -> HeaderMap {
        let value = format!("Bearer {}", pair.access_token);
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }

    async fn ask(resource: &ProtectedResource, pair: &TokenPair) -> Result<Arc<Principal>, Denied> {
        resource.authenticate(&headers(pair), None).await
    }

    #[tokio::test]
    async fn a_token_is_its_principal() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let principal = ask(&resource, &room.pair().await).await.unwrap();
        assert_eq!(*principal.identity, room.approval().identity);
        assert_eq!(principal.client, room.client);
        assert_eq!(principal.resource.0, RESOURCE);
        assert_eq!(resource.uri().0, RESOURCE);
    }

    #[tokio::test]
    async fn a_known_token_is_not_looked_up_again() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let pair = room.pair().await;
        let first = ask(&resource, &pair).await.unwrap();
        room.store.close().await;
        assert!(Arc::ptr_eq(&ask(&resource, &pair).await.unwrap(), &first));
    }

    #[tokio::test]
    async fn r04_trouble_with_the_store_is_unavailable_and_never_a_bad_token() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let pair = room.pair().await;
        room.store.close().await;
        assert_eq!(
            ask(&resource, &pair).await.unwrap_err(),
            Denied::Unavailable
        );
    }

    #[tokio::test]
    async fn a087_no_token_is_told_from_a_bad_one() {
        let resource = guarded(&room(), "https://guard.test");
        let none = resource.authenticate(&HeaderMap::new(), None).await;
        assert_eq!(none.unwrap_err(), Denied::NoToken);
    }

    #[tokio::test]
    async fn a088_a_cached_token_ends_at_its_expiry() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let pair = room.pair().await;
        ask(&resource, &pair).await.unwrap();
        room.clock.advance(LIFETIMES.access_token);
        assert_eq!(
            ask(&resource, &pair).await.unwrap_err(),
            Denied::InvalidToken
        );
    }

    #[tokio::test]
    async fn a088_a_local_revocation_counts_at_once_and_for_its_grant_only() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let (pair, other) = (room.pair().await, room.pair().await);
        let grant = ask(&resource, &pair).await.unwrap().grant.clone();
        ask(&resource, &other).await.unwrap();
        room.grants.revoke(&grant).await.unwrap();
        assert_eq!(
            ask(&resource, &pair).await.unwrap_err(),
            Denied::InvalidToken
        );
        assert!(ask(&resource, &other).await.is_ok());
    }

    #[tokio::test]
    async fn a088_a_single_revoked_access_token_counts_at_once() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let pair = room.pair().await;
        ask(&resource, &pair).await.unwrap();
        let revoked = room.grants.revoke_token(&pair.access_token, &room.client);
        revoked.await.unwrap();
        assert_eq!(
            ask(&resource, &pair).await.unwrap_err(),
            Denied::InvalidToken
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a088_a_revocation_by_another_guard_counts_within_five_seconds() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        let pair = room.pair().await;
        let grant = ask(&resource, &pair).await.unwrap().grant.clone();
        let replica = Grants::new(
            room.store.clone(),
            Keyring::ephemeral(),
            room.clock.clone(),
            LIFETIMES,
        );
        replica.revoke(&grant).await.unwrap();
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(
            ask(&resource, &pair).await.unwrap_err(),
            Denied::InvalidToken
        );
    }

    #[tokio::test]
    async fn a088_no_lookup_in_flight_outlives_a_revocation() {
        let room = room();
        let resource = guarded(&room, "https://guard.test");
        for _ in 0..50 {
            let pair = room.pair().await;
            let grant = room.look(&pair).await.unwrap().grant;
            let late = in_parallel(4, async || {
                let before = ask(&resource, &pair).await;
                room.grants.revoke(&grant).await.unwrap();
                let after = ask(&resource, &pair).await;
                assert!(before.is_ok() || before.unwrap_err() == Denied::InvalidToken);
                after
            });
            for answer in late {
                assert_eq!(answer.unwrap_err(), Denied::InvalidToken);
            }
        }
    }

    #[tokio::test]
    async fn a089_a_token_of_another_resource_is_refused() {
        let room = room();
        let pair = room.pair().await;
        for elsewhere in [
            "https://other.test",
            "https://guard.test/team",
            "http://guard.test",
        ] {
            let resource = guarded(&room, elsewhere);
            assert_eq!(
                ask(&resource, &pair).await.unwrap_err(),
                Denied::InvalidToken
            );
        }
        assert!(
            ask(&guarded(&room, "https://guard.test"), &pair)
                .await
                .is_ok()
        );
    }

    #[test]
    fn a003_the_challenge_points_to_the_path_inserted_document() {
        let resource = guarded(&room(), "https://guard.test:8443/team");
        for (at, path) in [
            (Transport::StreamableHttp, "/team/mcp"),
            (Transport::HttpSse, "/team/sse"),
        ] {
            let reply = resource.refuse(at, Denied::NoToken, None);
            let expected = format!(
                "Bearer resource_metadata=\"https://guard.test:8443/.well-known/\
                 oauth-protected-resource{path}\", scope=\"mcp\""
            );
            assert_eq!(reply.headers()["www-authenticate"], expected);
        }
    }
}
