//! The gateway: the bearer token, and behind it the way to the wrapped server.
//!
//! Nothing happens before the token was accepted: no body is read, no session looked up, no child
//! started, no upstream asked.

mod awaited;
mod bridge;
mod figures;
mod places;
mod proxy;
mod reply;
mod session_id;

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::{ExternalUrl, Inbound, Reply};
use crate::identity::{IdentityProviders, Subject};
use crate::policy::rate_limit::RateLimit;
use crate::resource::{ProtectedResource, Transport};
use crate::signing::SigningKeys;
use crate::upstream::Upstream;

use bridge::Bridge;
pub use figures::{Failure, Figures};
use proxy::{Assertions, IdentityHeaders, Proxy};

/// The gateway's own limits; those of the children are the upstream's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of a request's body.
    pub max_body_size: usize,
    /// Listening streams (GET) that one subject may hold open.
    pub max_streams_per_user: usize,
    /// Requests of one subject in a second, in the long run; ten times as many at once.
    pub max_requests_per_user: u32,
    /// Whether GET is answered with 405, and there is no HTTP+SSE (`--http-streaming-only`).
    pub streaming_only: bool,
    /// Where clients of HTTP+SSE post to: the external URL's path, and `/messages`.
    pub messages_path: String,
    pub start_timeout: Duration,
    pub request_timeout: Duration,
    pub session_idle_timeout: Duration,
}

/// Requests at once, for one a second in the long run: an agent that reads a folder asks in bursts.
const BURST: u32 = 10;
/// Users remembered. Those whose share is whole again are forgotten first.
const MAX_USERS: usize = 100_000;
/// The paths of the guarded server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Streamable HTTP.
    Mcp,
    /// HTTP+SSE of 2024-11-05: the stream.
    Sse,
    /// HTTP+SSE of 2024-11-05: where its clients post to.
    Messages,
}

impl Endpoint {
    fn transport(self) -> Transport {
        match self {
            Self::Mcp => Transport::StreamableHttp,
            Self::Sse | Self::Messages => Transport::HttpSse,
        }
    }
}

/// One guarded MCP endpoint.
pub struct Gateway {
    resource: Arc<ProtectedResource>,
    /// Of each user. Addresses do not count here: hosted clients bring everybody from a few (D-42).
    calls: RateLimit<Subject>,
    server: Server,
}

/// The ways to a wrapped server.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, in its gateway's Arc"
)]
enum Server {
    /// A command.
    Bridge(Bridge),
    /// A URL.
    Proxy(Box<Proxy>),
}

impl Gateway {
    /// `signing` is there if a wrapped URL is to be told by signature who is calling.
    pub fn new(
        settings: Settings,
        upstream: Upstream,
        resource: Arc<ProtectedResource>,
        keyring: Keyring,
        clock: Clock,
        external: &ExternalUrl,
        signing: Option<Arc<SigningKeys>>,
    ) -> Arc<Self> {
        let per_second = settings.max_requests_per_user;
        let calls = RateLimit::new(
            per_second.saturating_mul(BURST),
            per_second.into(),
            MAX_USERS,
        );
        let server = match upstream {
            Upstream::Command(command) => {
                Server::Bridge(Bridge::new(settings, command, keyring, clock))
            }
            Upstream::Url(url) => {
                let assertions =
                    signing.map(|keys| Assertions::new(keys, external, &url.url, clock.clone()));
                let identity = IdentityHeaders::new(&url, external, assertions);
                let gate = Arc::clone(&resource);
                let prefix = external.prefix().to_owned();
                let proxy = Proxy::new(settings, &url, prefix, gate, keyring, clock, identity);
                Server::Proxy(Box::new(proxy))
            }
        };
        Arc::new(Self {
            resource,
            calls,
            server,
        })
    }

    /// Whether the HTTP+SSE endpoints exist.
    pub fn has_http_sse(&self) -> bool {
        match &self.server {
            Server::Bridge(bridge) => bridge.has_http_sse(),
            Server::Proxy(_) => true,
        }
    }

    /// Answers one request to the guarded server. `landing` makes the page for a person who opened
    /// the URL in a browser; it goes out with the 401, whose status and challenge stay the same.
    pub async fn handle(
        &self,
        endpoint: Endpoint,
        request: Box<Inbound>,
        landing: impl FnOnce() -> Reply,
    ) -> Reply {
        let principal = match self
            .resource
            .authenticate(&request.headers, request.query())
            .await
        {
            Ok(principal) => principal,
            Err(denied) => {
                let page = reply::wants_html(&request).then(landing);
                return self.resource.refuse(endpoint.transport(), denied, page);
            }
        };
        if let Err(wait) = self.calls.check_key(&principal.identity.subject) {
            return reply::too_many_requests(wait);
        }
        match &self.server {
            Server::Bridge(bridge) => bridge.answer(endpoint, request, &principal).await,
            // Boxed: a call to a command would carry room for it.
            Server::Proxy(proxy) => match Box::pin(proxy.answer(request, &principal)).await {
                Ok(reply) | Err(reply) => reply,
            },
        }
    }

    /// What it has to tell of itself.
    pub fn figures(&self) -> Figures<'_> {
        let limited = self.calls.refused();
        match &self.server {
            Server::Bridge(bridge) => bridge.figures(limited),
            Server::Proxy(proxy) => proxy.figures(limited),
        }
    }

    /// The thread that had best serve a connection whose first bytes are these: the one where the
    /// session's child has its pipes.
    pub fn home(&self, first_bytes: &[u8]) -> Option<ThreadId> {
        match &self.server {
            Server::Bridge(bridge) => bridge.home(session_id::named_in(first_bytes)?),
            Server::Proxy(_) => None,
        }
    }

    /// Ends every open stream that a revoked grant had opened.
    pub fn grant_revoked(&self, grant: &GrantId) {
        match &self.server {
            Server::Bridge(bridge) => bridge.grant_revoked(grant),
            Server::Proxy(proxy) => proxy.grant_revoked(grant),
        }
    }

    /// Ends what people have open whom the rules no longer let in.
    pub fn end_unwelcome(&self, identity: &IdentityProviders) {
        match &self.server {
            Server::Bridge(bridge) => bridge.end_unwelcome(identity),
            Server::Proxy(proxy) => proxy.end_unwelcome(identity),
        }
    }

    /// Lets time take its toll: overdue requests, held messages, idle sessions. The app calls it
    /// once a second.
    pub fn sweep(&self) {
        match &self.server {
            Server::Bridge(bridge) => bridge.sweep(),
            Server::Proxy(_) => {}
        }
    }

    /// The first step of stopping: listening streams end, with the hint to come back. What is in
    /// flight goes on.
    pub fn end_listening(&self) {
        match &self.server {
            Server::Bridge(bridge) => bridge.end_listening(),
            Server::Proxy(proxy) => proxy.end_listening(),
        }
    }

    /// The last step of stopping: every session ends, every child is stopped.
    pub async fn stop(&self) {
        match &self.server {
            Server::Bridge(bridge) => bridge.stop().await,
            Server::Proxy(_) => {}
        }
    }
}
