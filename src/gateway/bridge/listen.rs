//! GET: the client listens for what belongs to no request, or comes back for what it missed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::event_stream::{Connection, EventStream, parse_event_id};
use super::session::Session;
use super::{Bridge, reply, session_id};
use crate::http::{Inbound, Reply};
use crate::mcp::Version;
use crate::resource::Principal;

impl Bridge {
    pub(super) fn listen(&self, request: &Inbound, principal: &Principal) -> Reply {
        if self.settings.streaming_only {
            return reply::method_not_allowed("POST, DELETE");
        }
        if is_fallback(request) {
            return self.open_stream(principal, request.path());
        }
        if !reply::accepts_events(request) {
            return reply::not_acceptable();
        }
        let session = match self.session(request, principal) {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        let Some(place) = self.streams.take(
            &principal.identity.subject,
            self.settings.max_streams_per_user,
        ) else {
            return reply::too_many_streams();
        };
        let Some((stream, resume_after)) = wanted_stream(request, &session) else {
            return reply::bad_request("the Last-Event-ID is not one of this session");
        };
        let connection = Connection {
            grant: principal.grant.clone(),
            expires: Some(Instant::now() + self.remaining(principal)),
            resume_after,
            priming: session.version().is_some_and(Version::has_priming),
            place: Some(place),
        };
        stream.connect(connection).map_or_else(
            || reply::bad_request("the Last-Event-ID is not one of this session"),
            reply::events,
        )
    }

    /// What is left of the access token's life.
    pub(super) fn remaining(&self, principal: &Principal) -> Duration {
        principal.expires_at.since(self.clock.now())
    }
}

/// A client of the HTTP+SSE transport that was given this URL (2025-03-26, Backwards Compatibility).
/// Those of streamable HTTP name the session that `initialize` gave them.
fn is_fallback(request: &Inbound) -> bool {
    let headers = &request.headers;
    !headers.contains_key(session_id::HEADER)
        && !headers.contains_key("last-event-id")
        && reply::wants_only_events(request)
}

/// The listening stream, unless `Last-Event-ID` names another, and the last event that the client
/// has of it. `None` if no such stream is known (any more).
fn wanted_stream(request: &Inbound, session: &Session) -> Option<(Arc<EventStream>, Option<u64>)> {
    if !request.headers.contains_key("last-event-id") {
        return Some((Arc::clone(session.listening()), None));
    }
    let (number, sequence) = parse_event_id(request.header("last-event-id")?)?;
    Some((session.stream(number)?, Some(sequence)))
}
