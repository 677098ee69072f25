//! Which part answers which path. Public paths are a fixed table, matched whole; everything else
//! does not exist, or belongs to the wrapped server and lies behind the gate (design rule D-22).
//!
//! The order of checks is the same for every request: canonical form, path, Host, Origin, preflight,
//! method, and only then the part that answers.

mod cors;
mod plain_http;
mod requests;

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ALLOW, HOST, HeaderValue, ORIGIN, RETRY_AFTER, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use ipnet::IpNet;

use crate::admin::Health;
use crate::gateway::{self, Gateway};
use crate::http::{Body, ExternalUrl, Inbound, Origins, Refusal, Reply, canonical};
use crate::listener::{Peer, Service};
use crate::oauth::{AuthorizationServer, Endpoint};
use crate::pages::Landing;
use crate::policy::rate_limit::RateLimit;
use crate::resource::{ProtectedResource, SSE_PATH, Transport};
use crate::signing::SigningKeys;
use cors::Cors;
pub use plain_http::PlainHttp;
use requests::Class;
pub use requests::{Requests, StatusClass};

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'l> {
    /// Of the external URL: empty, or `/team`.
    pub prefix: &'l str,
    /// The path of the guarded endpoint below the external URL.
    pub mcp_path: &'l str,
    /// Whether every path that is not the guard's own is the wrapped server's.
    pub mirrors: bool,
    /// Whether clients that know only HTTP+SSE are served.
    pub has_http_sse: bool,
}

/// Where clients of HTTP+SSE post to.
pub const MESSAGES_PATH: &str = "/messages";

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Server(gateway::Endpoint),
    /// Something else of the wrapped server's, behind the same gate.
    Mirrored,
    ResourceMetadata(Transport),
    Jwks,
    Oauth(Endpoint),
    Landing,
    Live,
    Ready,
}

impl Route {
    /// The route of `path`.
    pub fn of(layout: Layout<'_>, path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix("/.well-known/") {
            return Self::of_well_known(layout, name);
        }
        let below = path.strip_prefix(layout.prefix)?;
        if is_endpoint(below, layout.mcp_path) {
            return Some(Self::Server(gateway::Endpoint::Mcp));
        }
        Some(match below {
            SSE_PATH | "/sse/" if layout.has_http_sse => Self::Server(gateway::Endpoint::Sse),
            MESSAGES_PATH if layout.has_http_sse => Self::Server(gateway::Endpoint::Messages),
            "" | "/" => Self::Landing,
            "/register" => Self::Oauth(Endpoint::Register),
            "/authorize" => Self::Oauth(Endpoint::Authorize),
            "/token" => Self::Oauth(Endpoint::Token),
            "/revoke" => Self::Oauth(Endpoint::Revoke),
            "/.auth/continue" => Self::Oauth(Endpoint::Continue),
            "/.auth/password" => Self::Oauth(Endpoint::Password),
            "/healthz" => Self::Live,
            "/readyz" => Self::Ready,
            _ => return Self::of_callback(below).or_else(|| Self::of_other(layout, below)),
        })
    }

    /// `/.auth/<provider>/callback`.
    fn of_callback(below: &str) -> Option<Self> {
        let provider = below.strip_prefix("/.auth/")?.strip_suffix("/callback")?;
        Endpoint::callback(provider).map(Self::Oauth)
    }

    /// Documents and sign-in speak for the whole origin, so what begins like them is never the
    /// wrapped server's.
    fn of_other(layout: Layout<'_>, below: &str) -> Option<Self> {
        if let Some(name) = below.strip_prefix("/.well-known/") {
            let at_root = Layout {
                prefix: "",
                ..layout
            };
            return Self::of_well_known(at_root, name);
        }
        let mirrored = layout.mirrors && below.starts_with('/') && !below.starts_with("/.auth/");
        mirrored.then_some(Self::Mirrored)
    }

    /// `name` is what follows `/.well-known/`: the document's name, and what RFC 8414 §3.1 and RFC
    /// 9728 §3.1 insert behind it. Clients that take the MCP URL for the issuer, or know only the
    /// root, find the same documents.
    fn of_well_known(layout: Layout<'_>, name: &str) -> Option<Self> {
        const RESOURCE: &str = "oauth-protected-resource";
        const SERVER: [&str; 2] = ["oauth-authorization-server", "openid-configuration"];
        if let Some(inserted) = name.strip_prefix("jwks.json") {
            let is_ours = inserted.is_empty() || inserted == layout.prefix;
            return is_ours.then_some(Self::Jwks);
        }
        let mut documents = SERVER.iter().chain([&RESOURCE]);
        let document = documents.find(|document| name.starts_with(**document))?;
        let inserted = name.strip_prefix(document)?;
        let transport = match inserted.strip_prefix(layout.prefix) {
            _ if inserted.is_empty() => Transport::StreamableHttp,
            Some(path) if path.is_empty() || path == layout.mcp_path => Transport::StreamableHttp,
            Some(SSE_PATH) if layout.has_http_sse => Transport::HttpSse,
            _ => return None,
        };
        Some(match *document {
            RESOURCE => Self::ResourceMetadata(transport),
            _ => Self::Oauth(Endpoint::Metadata),
        })
    }

    /// The methods a route answers to, besides OPTIONS where pages of other origins may ask.
    fn methods(self) -> &'static [Method] {
        match self {
            // The gateway itself refuses other methods, after it has authenticated: a 401 goes
            // before a 405.
            Self::Server(_) | Self::Mirrored => &[],
            Self::Oauth(Endpoint::Metadata | Endpoint::Authorize)
            | Self::ResourceMetadata(_)
            | Self::Jwks
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
            Self::Server(_) | Self::Mirrored => Cors::Listed,
            Self::ResourceMetadata(_)
            | Self::Jwks
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

/// `/mcp` and `/mcp/` are one: a redirect between them would cost clients their token.
fn is_endpoint(path: &str, mcp_path: &str) -> bool {
    path == mcp_path
        || path.strip_suffix('/') == Some(mcp_path)
        || mcp_path.strip_suffix('/') == Some(path)
}

/// Said with every reply.
static NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

const READ: &[Method] = &[Method::GET, Method::HEAD];

/// The limit on one network's requests for the discovery documents. A client asks for three or four
/// of them whenever it connects, and hosted ones connect for everybody from a few addresses (D-42).
pub fn document_limit() -> RateLimit {
    RateLimit::new(2400, 120.0, 10_000)
}

/// All parts that answer requests.
pub struct Routes {
    pub external_url: ExternalUrl,
    /// The path of the guarded endpoint below the external URL.
    pub mcp_path: String,
    /// Whether every path that is not the guard's own is the wrapped server's.
    pub mirrors: bool,
    pub server_name: String,
    pub origins: Origins,
    pub trusted_proxies: Vec<IpNet>,
    pub authorization_server: Arc<AuthorizationServer>,
    pub resource: Arc<ProtectedResource>,
    pub gateway: Arc<Gateway>,
    /// Only where something is signed.
    pub signing: Option<Arc<SigningKeys>>,
    pub health: Health,
    /// As [`document_limit`] makes it.
    pub documents: RateLimit,
    /// Only where the guard speaks TLS: what it says to those who do not.
    pub plain_http: Option<PlainHttp>,
    /// What is said over TLS as Strict-Transport-Security (RFC 6797).
    pub hsts: Option<HeaderValue>,
    pub requests: Requests,
}

impl Service for Routes {
    /// The future has no room for the request itself, which is on the heap by then: every call in
    /// flight would carry it.
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply> {
        let clear = self.plain_http.as_ref().filter(|_| !peer.is_secure);
        let mut class = Class::Other;
        let way: Result<_, Pin<Box<dyn Future<Output = Reply>>>> = match clear {
            Some(plain_http) => Err(Box::pin(
                self.answer_in_the_clear(plain_http, request, peer),
            )),
            None => match self.canonicalise(request, peer) {
                Ok(inbound) => {
                    let route = Route::of(self.layout(), inbound.path());
                    class = Class::of(route);
                    Ok((route, Box::new(inbound)))
                }
                Err(refusal) => Err(Box::pin(ready(refusal.reply()))),
            },
        };
        async move {
            let mut reply = match way {
                Ok((route, inbound)) => self.answer(route, inbound).await,
                Err(other) => other.await,
            };
            self.requests.count(class, reply.status());
            let headers = reply.headers_mut();
            headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF.clone());
            if let Some(hsts) = self.hsts.as_ref().filter(|_| peer.is_secure) {
                headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
            }
            reply
        }
    }

    fn home(&self, first_bytes: &[u8]) -> Option<ThreadId> {
        self.gateway.home(first_bytes)
    }
}

impl Routes {
    fn canonicalise(&self, request: Request<Incoming>, peer: Peer) -> Result<Inbound, Refusal> {
        canonical::canonicalise(request, peer.address, &self.trusted_proxies)
    }

    async fn answer_in_the_clear(
        &self,
        plain_http: &PlainHttp,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Reply {
        if let Some(refused) = plain_http.refuse_token(&request) {
            return refused;
        }
        let method = request.method().clone();
        match self.canonicalise(request, peer) {
            Ok(inbound) => {
                let layout = self.layout();
                plain_http
                    .answer(&inbound, &self.external_url, layout)
                    .await
            }
            Err(refusal) => plain_http::instead_of(refusal, &method, &self.external_url)
                .unwrap_or_else(|| refusal.reply()),
        }
    }

    async fn answer(&self, route: Option<Route>, request: Box<Inbound>) -> Reply {
        let Some(route) = route else {
            return self.unknown(&request);
        };
        // Orchestrators probe by address; the answer says nothing that depends on the name.
        if !matches!(route, Route::Live | Route::Ready) && !self.is_for_us(&request) {
            return plain(StatusCode::MISDIRECTED_REQUEST);
        }
        let cors = route.cors();
        let origin = request.headers.get(ORIGIN).cloned();
        if cors == Cors::Listed && origin.is_some() && !self.origin_may_call(&request) {
            return plain(StatusCode::FORBIDDEN);
        }
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

    fn layout(&self) -> Layout<'_> {
        Layout {
            prefix: self.external_url.prefix(),
            mcp_path: &self.mcp_path,
            mirrors: self.mirrors,
            has_http_sse: self.gateway.has_http_sse(),
        }
    }

    async fn dispatch(&self, route: Route, request: Box<Inbound>) -> Reply {
        if let Route::ResourceMetadata(_) | Route::Oauth(Endpoint::Metadata) = route
            && let Err(wait) = self.documents.check(request.client)
        {
            return too_many(wait);
        }
        match route {
            Route::Server(endpoint) => self.guarded(endpoint, request).await,
            Route::Mirrored => self.guarded(gateway::Endpoint::Mcp, request).await,
            Route::ResourceMetadata(transport) => self.resource.metadata(transport),
            Route::Jwks => match &self.signing {
                Some(keys) => keys.jwks(),
                None => plain(StatusCode::NOT_FOUND),
            },
            // Boxed: it is large, and rare beside calls to the MCP endpoint.
            Route::Oauth(endpoint) => {
                Box::pin(self.authorization_server.handle(endpoint, *request)).await
            }
            Route::Landing => self.landing().reply(),
            Route::Live => self.health.live(),
            Route::Ready => self.health.ready(),
        }
    }

    fn guarded(
        &self,
        endpoint: gateway::Endpoint,
        request: Box<Inbound>,
    ) -> impl Future<Output = Reply> {
        self.gateway
            .handle(endpoint, request, || self.landing().reply())
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
            .header(HOST)
            .is_some_and(|host| self.origins.knows_host(host))
    }

    /// `null`, a foreign one, or two of them: no. Where there is none, there is no browser.
    fn origin_may_call(&self, request: &Inbound) -> bool {
        request
            .header(ORIGIN)
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

    /// The route in front of a command.
    fn route(prefix: &str, path: &str) -> Option<Route> {
        let layout = Layout {
            prefix,
            mcp_path: "/mcp",
            mirrors: false,
            has_http_sse: true,
        };
        Route::of(layout, path)
    }

    /// The route in front of `http://server/api/mcp`.
    fn mirrored(prefix: &str, path: &str) -> Option<Route> {
        let layout = Layout {
            prefix,
            mcp_path: "/api/mcp",
            mirrors: true,
            has_http_sse: false,
        };
        Route::of(layout, path)
    }

    #[test]
    fn a_url_brings_its_own_endpoint_and_everything_beside_it() {
        for (path, expected) in [
            ("/api/mcp", Some(Route::Server(gateway::Endpoint::Mcp))),
            ("/api/mcp/", Some(Route::Server(gateway::Endpoint::Mcp))),
            ("/mcp", Some(Route::Mirrored)),
            ("/api", Some(Route::Mirrored)),
            ("/messages/", Some(Route::Mirrored)),
            ("/healthz/x", Some(Route::Mirrored)),
            ("/healthz", Some(Route::Live)),
            ("/token", Some(Route::Oauth(Endpoint::Token))),
            ("/", Some(Route::Landing)),
            (
                "/.well-known/oauth-protected-resource/api/mcp",
                Some(Route::ResourceMetadata(Transport::StreamableHttp)),
            ),
            ("/.well-known/oauth-protected-resource/mcp", None),
            ("/.well-known/security.txt", None),
            ("/.auth/x", None),
        ] {
            assert_eq!(mirrored("", path), expected, "{path}");
        }
        assert_eq!(mirrored("/team", "/team/x"), Some(Route::Mirrored));
        assert_eq!(mirrored("/team", "/teamx"), None);
        assert_eq!(mirrored("/team", "/x"), None);
    }

    #[test]
    fn every_public_path_is_found() {
        let cases = [
            ("/mcp", Route::Server(gateway::Endpoint::Mcp)),
            ("/mcp/", Route::Server(gateway::Endpoint::Mcp)),
            ("/", Route::Landing),
            ("/sse", Route::Server(gateway::Endpoint::Sse)),
            ("/messages", Route::Server(gateway::Endpoint::Messages)),
            (
                "/.well-known/oauth-protected-resource",
                Route::ResourceMetadata(Transport::StreamableHttp),
            ),
            (
                "/.well-known/oauth-protected-resource/mcp",
                Route::ResourceMetadata(Transport::StreamableHttp),
            ),
            (
                "/.well-known/oauth-protected-resource/sse",
                Route::ResourceMetadata(Transport::HttpSse),
            ),
            (
                "/.well-known/oauth-authorization-server/sse",
                Route::Oauth(Endpoint::Metadata),
            ),
            (
                "/.well-known/openid-configuration/sse",
                Route::Oauth(Endpoint::Metadata),
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
            ("/.well-known/jwks.json", Route::Jwks),
            ("/token", Route::Oauth(Endpoint::Token)),
        ];
        for (path, expected) in cases {
            assert_eq!(route("", path), Some(expected), "{path}");
        }
    }

    #[test]
    fn a053_each_provider_has_a_callback_and_only_get_reaches_it() {
        for provider in ["github", "google", "oidc"] {
            for prefix in ["", "/team"] {
                let path = format!("{prefix}/.auth/{provider}/callback");
                let route = route(prefix, &path).unwrap();
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
            "/team/.well-known/jwks.json",
            "/.well-known/jwks.json/team",
            "/team/.well-known/oauth-protected-resource/mcp",
            "/team/sse",
            "/team/messages",
            "/.well-known/oauth-protected-resource/team/sse",
        ];
        for path in found {
            assert!(route("/team", path).is_some(), "{path}");
        }
        for path in [
            "/mcp",
            "/teammcp",
            "/",
            "/.well-known/oauth-authorization-server/other",
        ] {
            assert_eq!(route("/team", path), None, "{path}");
        }
    }

    #[test]
    fn a004_no_metadata_for_paths_that_are_not_guarded() {
        for path in [
            "/.well-known/oauth-protected-resource/evil",
            "/.well-known/oauth-protected-resourcex",
            "/.well-known/oauth-protected-resource/mcp/",
            "/.well-known/oauth-protected-resource/mcp/x",
            "/.well-known/oauth-protected-resource/messages",
            "/.well-known/jwks.json/mcp",
        ] {
            assert_eq!(route("", path), None, "{path}");
        }
    }

    #[test]
    fn a110_public_paths_match_whole() {
        for path in [
            "/healthz/mcp",
            "/mcpx",
            "/sse/x",
            "/messages/",
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
            assert_eq!(route("", path), None, "{path}");
        }
    }
}
