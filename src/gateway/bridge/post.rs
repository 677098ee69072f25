//! POST: one message of the client's (or, in a 2025-03-26 session, a batch), and what answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use super::event_stream::{Connection, EventStream};
use super::exchange::{Exchange, First};
use super::session::Session;
use super::{Bridge, patience, reply, session_id};
use crate::http::{Inbound, Reply, RequestBody};
use crate::mcp::{ErrorCode, Kind, Message, ParseError, Version, error_for, parse_batch};
use crate::resource::Principal;
use crate::upstream::SendError;

/// How long a body may take to arrive.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

impl Bridge {
    pub(super) async fn post(&self, mut request: Box<Inbound>, principal: &Principal) -> Reply {
        let body = match self.read(&mut request).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        match Message::parse(body.clone()) {
            Ok(message) => self.post_message(&request, &message, principal).await,
            Err(ParseError::Batch) => self.post_batch(&request, &body, principal),
            Err(error) => reply::not_a_message(&error),
        }
    }

    /// The body, which claims to be JSON.
    pub(super) async fn read(&self, request: &mut Inbound) -> Result<Bytes, Reply> {
        if !reply::is_json(request) {
            return Err(reply::unsupported_media_type());
        }
        let body = std::mem::replace(&mut request.body, RequestBody::Whole(Bytes::new()));
        let body = body.read(self.settings.max_body_size, BODY_PATIENCE).await;
        body.map_err(|error| reply::unreadable(&error))
    }

    async fn post_message(
        &self,
        request: &Inbound,
        message: &Message,
        principal: &Principal,
    ) -> Reply {
        let version = match protocol_version(request) {
            Ok(version) => version,
            Err(reply) => return reply,
        };
        if message.is_modern() || version.is_some_and(|version| !version.is_legacy()) {
            return reply::legacy_only(message);
        }
        if message.method() == Some("initialize") && message.kind() == Kind::Request {
            // Boxed: what it needs room for would be moved about with every call.
            return Box::pin(self.initialize(message, principal)).await;
        }
        let session = match self.session(request, principal) {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        if message.kind() != Kind::Request {
            return pass(&session, message);
        }
        match session.request(message, false) {
            Ok(exchange) => answer(&session, &exchange, principal).await,
            Err(error) => reply::not_sent(message, &error),
        }
    }

    /// A batch: every member on its own to the child, all answers on one stream (2025-03-26,
    /// Sending Messages 3 and 5). Other revisions have none.
    fn post_batch(&self, request: &Inbound, body: &Bytes, principal: &Principal) -> Reply {
        if !request.headers.contains_key(session_id::HEADER) {
            return reply::bad_request("initialize must not be part of a batch");
        }
        let session = match self.session(request, principal) {
            Ok(session) => session,
            Err(reply) => return reply,
        };
        if !session.version().is_some_and(Version::has_batches) {
            return reply::bad_request("this session's protocol revision has no batches");
        }
        let messages = match parse_batch(body) {
            Ok(messages) => messages,
            Err(error) => return reply::not_a_message(&error),
        };
        if messages
            .iter()
            .any(|message| message.method() == Some("initialize"))
        {
            return reply::bad_request("initialize must not be part of a batch");
        }
        send_batch(&session, &messages, principal)
    }
}

/// A notification or an answer: 202 without a body.
pub(super) fn pass(session: &Session, message: &Message) -> Reply {
    match session.pass(message) {
        // An answer to a question that was never asked, or was taken back, is not held against
        // the client.
        Ok(()) | Err(SendError::NotAsked) => reply::empty(StatusCode::ACCEPTED),
        Err(error) => reply::not_sent(message, &error),
    }
}

/// The answer as plain JSON if it is the first thing to come, and soon; else a stream.
async fn answer(session: &Session, exchange: &Arc<Exchange>, principal: &Principal) -> Reply {
    patience::watch(exchange, exchange.begun_at());
    if let First::Answer(answer) = exchange.first().await {
        return reply::json(answer.bytes().clone());
    }
    let stream = session.answer_stream(1);
    let reply = connect(session, &stream, principal);
    exchange.stream_to(&stream);
    reply
}

fn send_batch(session: &Session, messages: &[Message], principal: &Principal) -> Reply {
    let is_request = |message: &&Message| message.kind() == Kind::Request;
    let requests = messages.iter().filter(is_request).count();
    let stream = session.answer_stream(requests.max(1));
    for message in messages {
        if !is_request(&message) {
            let _ = session.pass(message);
        } else if let (Err(error), Some(id)) = (session.request_on(message, &stream), message.id())
        {
            stream.push_answer(&error_for(
                &id,
                ErrorCode::InternalError,
                &error.to_string(),
            ));
        }
    }
    if requests == 0 {
        stream.finish();
        return reply::empty(StatusCode::ACCEPTED);
    }
    connect(session, &stream, principal)
}

/// The reply that carries a stream's events. It may outlive the access token: the request was
/// accepted.
fn connect(session: &Session, stream: &Arc<EventStream>, principal: &Principal) -> Reply {
    let connection = Connection {
        grant: principal.grant.clone(),
        expires: None,
        resume_after: None,
        priming: session.version().is_some_and(Version::has_priming),
        place: None,
    };
    stream
        .connect(connection)
        .map_or_else(reply::session_not_found, reply::events)
}

/// The revision that the request names; none is fine (VS Code and older SDKs leave it out), one
/// that never was is not.
fn protocol_version(request: &Inbound) -> Result<Option<Version>, Reply> {
    if !request.headers.contains_key("mcp-protocol-version") {
        return Ok(None);
    }
    request
        .header("mcp-protocol-version")
        .and_then(Version::parse)
        .map(Some)
        .ok_or_else(|| {
            reply::bad_request("the MCP-Protocol-Version header names no known revision")
        })
}
