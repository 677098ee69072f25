//! Which part answers which path. Public paths are a fixed table, matched whole; everything else
//! does not exist (design rule D-22).
//!
//! The order of checks is the same for every request: canonical form, path, Host, Origin, preflight,
//! method, and only then the part that answers.

mod cors;

use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, ORIGIN, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use ipnet::IpNet;

use crate::admin::Health;
use crate::gateway::Gateway;
use crate::http::{Body, ExternalUrl, Inbound, Origins, Reply, canonical};
use crate::listener::{Peer, Service};
use crate::oauth::{AuthorizationServer, Endpoint};
use crate::pages::Landing;
use crate::policy::rate_limit::RateLimit;
use crate::resource::ProtectedResource;
use cors::Cors;

/// The path of the guarded endpoint below the external URL.
pub const MCP_PATH: &str = "/mcp";

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Mcp,
    ResourceMetadata,
    Oauth(Endpoint),
    Landing,
    Live,
    Ready,
}

impl Route {
    /// The route of `path`, where the guard lives below `prefix` (empty, or `/team`).
    pub fn of(prefix: &str, path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("/.well-known/") {
            return Self::of_well_known(prefix, name);
        }
        let below = path.strip_prefix(prefix)?;
        Some(match below {
            MCP_PATH | "/mcp/" => Self::Mcp,
            "" | "/" => Self::Landing,
            "/register" => Self::Oauth(Endpoint::Register),
            "/authorize" => Self::Oauth(Endpoint::Authorize),
            "/token" => Self::Oauth(Endpoint::Token),
            "/revoke" => Self::Oauth(Endpoint::Revoke),
            "/.auth/continue" => Self::Oauth(Endpoint::Continue),
            "/.auth/password" => Self::Oauth(Endpoint::Password),
            "/healthz" => Self::Live,
            "/readyz" => Self::Ready,
            _ => return Self::of_callback(below).or_else(|| Self::of_document(below)),
        })
    }

    /// `/.auth/<provider>/callback`.
    fn of_callback(below: &str) -> Option<Self> {
        let provider = below.strip_prefix("/.auth/")?.strip_suffix("/callback")?;
        Endpoint::callback(provider).map(Self::Oauth)
    }

    fn of_document(below: &str) -> Option<Self> {
        Self::of_well_known("", below.strip_prefix("/.well-known/")?)
    }

    /// `name` is what follows `/.well-known/`: the document's name, and what RFC 8414 §3.1 and RFC
    /// 9728 §3.1 insert behind it. Clients that take the MCP URL for the issuer, or know only the
    /// root, find the same documents.
    fn of_well_known(prefix: &str, name: &str) -> Option<Self> {
        let (document, route) = [
            ("oauth-protected-resource", Self::ResourceMetadata),
            (
                "oauth-authorization-server",
                Self::Oauth(Endpoint::Metadata),
            ),
            ("openid-configuration", Self::Oauth(Endpoint::Metadata)),
        ]
        .into_iter()
        .find(|(document, _)| name.starts_with(document))?;
        let inserted = name.strip_prefix(document)?;
        let is_ours = inserted.is_empty()
            || inserted
                .strip_prefix(prefix)
                .is_some_and(|rest| matches!(rest, "" | MCP_PATH));
        is_ours.then_some(route)
    }

    /// The methods a route answers to, besides OPTIONS where pages of other origins may ask.
    fn methods(self) -> &'static [Method] {
        match self {
            // The gateway itself refuses other methods, after it has authenticated: a 401 goes
            // before a 405.
            Self::Mcp => &[],
            Self::Oauth(Endpoint::Metadata | Endpoint::Authorize)
            | Self::ResourceMetadata
            | Self::Landing
            | Self::Live
            | Self::Ready => READ,
            // No HEAD: what GET does there it can do once.
            Self::Oauth(Endpoint::Callback(_)) => &[Method::GET],
            Self::Oauth(_) => &[Method::POST],
        }
    }

    fn cors(self) -> Cors {
        match self {
            Self::Mcp => Cors::Listed,
            Self::ResourceMetadata
            | Self::Oauth(
                Endpoint::Metadata | Endpoint::Register | Endpoint::Token | Endpoint::Revoke,
            ) => Cors::Anyone,
            Self::Oauth(
                Endpoint::Authorize
                | Endpoint::Continue
                | Endpoint::Callback(_)
                | Endpoint::Password,
            )
            | Self::Landing
            | Self::Live
            | Self::Ready => Cors::Nobody,
        }
    }
}

const READ: &[Method] = &[Method::GET, Method::HEAD];

/// The limit on one network's requests for the discovery documents. A client asks for three or four
/// of them whenever it connects, and hosted ones connect for everybody from a few addresses (D-42).
pub fn document_limit() -> RateLimit {
    RateLimit::new(2400, 120.0, 10_000)
}

/// All parts that answer requests.
pub struct Routes {
    pub external_url: ExternalUrl,
    pub server_name: String,
    pub origins: Origins,
    pub trusted_proxies: Vec<IpNet>,
    pub authorization_server: Arc<AuthorizationServer>,
    pub resource: Arc<ProtectedResource>,
    pub gateway: Arc<Gateway>,
    pub health: Health,
    /// As [`document_limit`] makes it.
    pub documents: RateLimit,
}

impl Service for Routes {
    async fn call(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        let mut reply = match canonical::canonicalise(request, peer.address, &self.trusted_proxies)
        {
            // On the heap, where it stays while it is handed on.
            Ok(inbound) => self.answer(Box::new(inbound)).await,
            Err(refusal) => refusal.reply(),
        };
        let headers = reply.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        reply
    }

    fn home(&self, first_bytes: &[u8]) -> Option<ThreadId> {
        self.gateway.home(first_bytes)
    }
}

impl Routes {
    async fn answer(&self, request: Box<Inbound>) -> Reply {
        let Some(route) = Route::of(self.external_url.prefix(), request.path()) else {
            return self.unknown(&request);
        };
        // Orchestrators probe by address; the answer says nothing that depends on the name.
        if !matches!(route, Route::Live | Route::Ready) && !self.is_for_us(&request) {
            return plain(StatusCode::MISDIRECTED_REQUEST);
        }
        let cors = route.cors();
        if cors == Cors::Listed && !self.origin_may_call(&request) {
            return plain(StatusCode::FORBIDDEN);
        }
        let origin = request.headers.get(ORIGIN).cloned();
        let mut reply = if request.method == Method::OPTIONS && cors != Cors::Nobody {
            cors::preflight()
        } else if !route.methods().is_empty() && !route.methods().contains(&request.method) {
            method_not_allowed(route.methods())
        } else {
            self.dispatch(route, request).await
        };
        cors.apply(reply.headers_mut(), origin);
        reply
    }

    async fn dispatch(&self, route: Route, request: Box<Inbound>) -> Reply {
        if let Route::ResourceMetadata | Route::Oauth(Endpoint::Metadata) = route
            && let Err(wait) = self.documents.check(request.client)
        {
            return too_many(wait);
        }
        match route {
            Route::Mcp => {
                self.gateway
                    .handle(request, || self.landing().reply())
                    .await
            }
            Route::ResourceMetadata => self.resource.metadata(),
            // Boxed: it is large, and rare beside calls to the MCP endpoint.
            Route::Oauth(endpoint) => {
                Box::pin(self.authorization_server.handle(endpoint, *request)).await
            }
            Route::Landing => self.landing().reply(),
            Route::Live => self.health.live(),
            Route::Ready => self.health.ready(),
        }
    }

    fn landing(&self) -> Landing<'_> {
        Landing {
            server_name: &self.server_name,
            mcp_url: &self.resource.uri().0,
        }
    }

    /// A name that is not ours says nothing, whatever the path.
    fn unknown(&self, request: &Inbound) -> Reply {
        if self.is_for_us(request) {
            plain(StatusCode::NOT_FOUND)
        } else {
            plain(StatusCode::MISDIRECTED_REQUEST)
        }
    }

    fn is_for_us(&self, request: &Inbound) -> bool {
        request
            .header("host")
            .is_some_and(|host| self.origins.knows_host(host))
    }

    /// No Origin: no browser. `null`, a foreign one, or two of them: no.
    fn origin_may_call(&self, request: &Inbound) -> bool {
        !request.headers.contains_key(ORIGIN)
            || request
                .header("origin")
                .is_some_and(|origin| self.origins.allows(origin))
    }
}

fn method_not_allowed(allowed: &[Method]) -> Reply {
    let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED);
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        reply.headers_mut().insert(ALLOW, names);
    }
    reply
}

fn too_many(wait: Duration) -> Reply {
    let mut reply = plain(StatusCode::TOO_MANY_REQUESTS);
    let seconds = wait.as_secs().saturating_add(1);
    reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    reply
}

fn plain(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_path_is_found() {
        let cases = [
            ("/mcp", Route::Mcp),
            ("/mcp/", Route::Mcp),
            ("/", Route::Landing),
            (
                "/.well-known/oauth-protected-resource",
                Route::ResourceMetadata,
            ),
            (
                "/.well-known/oauth-protected-resource/mcp",
                Route::ResourceMetadata,
            ),
            (
                "/.well-known/oauth-authorization-server",
                Route::Oauth(Endpoint::Metadata),
            ),
            (
                "/.well-known/oauth-authorization-server/mcp",
                Route::Oauth(Endpoint::Metadata),
            ),
            (
                "/.well-known/openid-configuration",
                Route::Oauth(Endpoint::Metadata),
            ),
            (
                "/.well-known/openid-configuration/mcp",
                Route::Oauth(Endpoint::Metadata),
            ),
            ("/token", Route::Oauth(Endpoint::Token)),
        ];
        for (path, route) in cases {
            assert_eq!(Route::of("", path), Some(route), "{path}");
        }
    }

    #[test]
    fn a053_each_provider_has_a_callback_and_only_get_reaches_it() {
        for provider in ["github", "google", "oidc"] {
            for prefix in ["", "/team"] {
                let path = format!("{prefix}/.auth/{provider}/callback");
                let route = Route::of(prefix, &path).unwrap();
                assert_eq!(
                    route,
                    Route::Oauth(Endpoint::callback(provider).unwrap()),
                    "{path}"
                );
                assert_eq!(route.methods(), [Method::GET]);
                assert_eq!(route.cors(), Cors::Nobody);
            }
        }
    }

    #[test]
    fn a_prefix_is_inserted_behind_the_well_known_name_or_stands_before_it() {
        let found = [
            "/team/mcp",
            "/team",
            "/team/",
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/team/mcp",
            "/.well-known/oauth-authorization-server/team",
            "/.well-known/oauth-authorization-server/team/mcp",
            "/team/.well-known/oauth-authorization-server",
            "/team/.well-known/openid-configuration",
            "/team/.well-known/oauth-protected-resource/mcp",
        ];
        for path in found {
            assert!(Route::of("/team", path).is_some(), "{path}");
        }
        for path in [
            "/mcp",
            "/teammcp",
            "/",
            "/.well-known/oauth-authorization-server/other",
        ] {
            assert_eq!(Route::of("/team", path), None, "{path}");
        }
    }

    #[test]
    fn a004_no_metadata_for_paths_that_are_not_guarded() {
        for path in [
            "/.well-known/oauth-protected-resource/evil",
            "/.well-known/oauth-protected-resourcex",
            "/.well-known/oauth-protected-resource/mcp/",
            "/.well-known/oauth-protected-resource/mcp/x",
            "/.well-known/jwks.json",
        ] {
            assert_eq!(Route::of("", path), None, "{path}");
        }
    }

    #[test]
    fn a110_public_paths_match_whole() {
        for path in [
            "/healthz/mcp",
            "/mcpx",
            "/MCP",
            "/token/",
            "/authorize/x",
            "/.auth",
            "/.auth/local/callback",
            "/.auth//callback",
            "/.auth/callback",
            "/.auth/github/callback/",
            "/.auth/GitHub/callback",
            "/.auth/github/x/callback",
        ] {
            assert_eq!(Route::of("", path), None, "{path}");
        }
    }
}
