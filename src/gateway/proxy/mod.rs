//! The proxy: a wrapped server that speaks HTTP itself, behind the gate. Public path *P* below the
//! guard's prefix is path *P* there.
//!
//! Bodies pass as they come, both ways. What the server's answers may not do: sign the client out
//! (its own 401 is the operator's trouble), name an internal address (redirects), give one user's
//! session to another. Its other errors, 5xx included, pass as they are: the client asked that
//! server, and learns what it said.

mod answer;
mod assertion;
mod endpoint;
mod endpoint_events;
mod forward;
mod identity_headers;
mod relay;
mod session_id;
mod streams;

use std::sync::Arc;

use hyper::header::SEC_WEBSOCKET_KEY;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, StatusCode};

use super::places::{Place, Places};
use super::{Failure, Figures, Settings, reply};
use crate::clock::Clock;
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::headers::Filter;
use crate::http::{Inbound, Reply};
use crate::identity::IdentityProviders;
use crate::resource::{Principal, ProtectedResource};
use crate::telemetry::metrics::Counts;
use crate::upstream::http::{self, Redirects, Server};

pub(super) use assertion::Assertions;
use endpoint::Endpoints;
pub(super) use identity_headers::IdentityHeaders;
use streams::Streams;

/// A wrapped URL, as clients see it.
pub(super) struct Proxy {
    settings: Settings,
    server: Server,
    redirects: Arc<Redirects>,
    mcp_path: String,
    /// Of the external URL: empty, or `/team`.
    prefix: String,
    gate: Arc<ProtectedResource>,
    keyring: Keyring,
    clock: Clock,
    /// Addresses of HTTP+SSE sessions.
    endpoints: Arc<Endpoints>,
    streams: Arc<Streams>,
    /// Listening streams.
    places: Places,
    /// What of a client's request header goes on.
    filter: Filter,
    /// What the guard adds.
    identity_headers: IdentityHeaders,
    failures: Counts<Failure>,
}

impl Proxy {
    pub(super) fn new(
        settings: Settings,
        upstream: &http::Settings,
        prefix: String,
        gate: Arc<ProtectedResource>,
        keyring: Keyring,
        clock: Clock,
        identity_headers: IdentityHeaders,
    ) -> Self {
        Self {
            settings,
            server: Server::new(upstream),
            redirects: Arc::new(Redirects::new(&upstream.url)),
            mcp_path: upstream.url.path().to_owned(),
            prefix,
            gate,
            endpoints: Arc::new(Endpoints::new(keyring.clone())),
            keyring,
            clock,
            streams: Arc::default(),
            places: Places::default(),
            filter: identity_headers.filter(),
            identity_headers,
            failures: Counts::default(),
        }
    }

    pub(super) fn figures(&self, limited: u64) -> Figures<'_> {
        Figures {
            limited,
            failures: &self.failures,
            sessions: None,
            children: None,
        }
    }

    /// Answers a request of this principal's: with what the server says, or with what the guard has
    /// to say instead.
    pub(super) async fn answer(
        &self,
        mut request: Box<Inbound>,
        principal: &Arc<Principal>,
    ) -> Result<Reply, Reply> {
        // No tunnels.
        if request.headers.contains_key(SEC_WEBSOCKET_KEY) {
            return Err(reply::method_not_allowed("GET, POST, DELETE"));
        }
        let place = self.place(&request, principal)?;
        let mut target = self.target(&request, principal)?;
        let body = forward::body(&mut request, self.settings.max_body_size).await?;
        let session = self.session(&request, &body, principal)?;
        let response = self
            .ask(&request, principal, &mut target, session.as_ref(), &body)
            .await?;
        let asked = answer::Asked {
            request: &request,
            principal,
            target,
            in_session: session.is_some(),
            place,
            message: body.kept,
        };
        self.reply(asked, response).await
    }

    /// A listening stream's, before anything is asked of the server for it.
    fn place(&self, request: &Inbound, principal: &Principal) -> Result<Option<Place>, Reply> {
        if request.method != Method::GET || !reply::asks_for_events(request) {
            return Ok(None);
        }
        if self.settings.streaming_only && self.is_endpoint(request.path()) {
            return Err(reply::method_not_allowed("POST, DELETE"));
        }
        self.take_place(principal).map(Some)
    }

    fn take_place(&self, principal: &Principal) -> Result<Place, Reply> {
        let limit = self.settings.max_streams_per_user;
        let place = self.places.take(&principal.identity.subject, limit);
        place.ok_or_else(reply::too_many_streams)
    }

    fn is_endpoint(&self, path: &str) -> bool {
        let path = path.strip_prefix(self.prefix.as_str()).unwrap_or(path);
        path.trim_end_matches('/') == self.mcp_path.trim_end_matches('/')
    }

    /// What to ask the server for. Nothing is copied where nothing is changed.
    fn target(&self, request: &Inbound, principal: &Principal) -> Result<PathAndQuery, Reply> {
        let asked = request.target().path_and_query().cloned();
        let mut target = asked.ok_or_else(|| reply::bad_request("there is no path"))?;
        if !self.prefix.is_empty() {
            let below = target.as_str().strip_prefix(self.prefix.as_str());
            target = below
                .and_then(|below| below.parse().ok())
                .ok_or_else(not_found)?;
        }
        if target.path() != self.mcp_path && self.is_endpoint(request.path()) {
            target = with_path(&self.mcp_path, &target);
        }
        let is_message = !matches!(request.method, Method::GET | Method::HEAD);
        let address = self.endpoints.resolve(&target, is_message, principal);
        let address = address.map_err(|_| reply::session_not_found())?;
        target = address.unwrap_or(target);
        let Some(path) = self.redirects.known(target.path()) else {
            return Ok(target);
        };
        Ok(with_path(&path, &target))
    }

    /// Cuts the streams that `grant` opened.
    pub(super) fn grant_revoked(&self, grant: &GrantId) {
        self.streams.end(|principal| principal.grant == *grant);
    }

    /// Cuts the streams of people whom the rules no longer let in.
    pub(super) fn end_unwelcome(&self, identity: &IdentityProviders) {
        self.streams
            .end(|principal| identity.admits(&principal.identity).is_err());
    }

    /// Cuts the listening streams; their clients will come back.
    pub(super) fn end_listening(&self) {
        self.streams.end_listening();
    }
}

/// The same query on another path.
fn with_path(path: &str, target: &PathAndQuery) -> PathAndQuery {
    let moved = match target.query() {
        Some(query) => format!("{path}?{query}").parse(),
        None => path.parse(),
    };
    moved.unwrap_or_else(|_| target.clone())
}

fn not_found() -> Reply {
    reply::empty(StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::{ClientId, ResourceUri, Scopes};
    use crate::identity::Identity;

    pub(super) fn principal(name: &str, client: &str) -> Arc<Principal> {
        Arc::new(Principal {
            identity: Arc::new(Identity::local(name)),
            client: ClientId(client.into()),
            grant: GrantId(format!("{name} {client}")),
            scopes: Scopes("mcp".into()),
            resource: ResourceUri("https://mcp.example.com/mcp".into()),
            expires_at: Timestamp(u64::MAX),
            told: OnceLock::new(),
        })
    }
}
