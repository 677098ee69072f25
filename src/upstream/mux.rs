//! The ids, progress tokens and pending questions on one child's wire. No I/O: state and rules only.
//!
//! Every request gets an id of its own on the wire, so two clients that both send `id: 1` cannot
//! cross, by construction (A-098). The same number stands for its progress token. What the child
//! asks keeps the child's id, and is answered by the session that was asked, once.
//!
//! A request is in flight until the child answers it or the guard gives up on it ([`Mux::cancel`],
//! [`Mux::leave`]). A client's own `notifications/cancelled` does not end it: the child may answer
//! all the same, and that answer ends the exchange. One that never comes is the timeout's matter.

use std::collections::HashMap;

use bytes::BytesMut;

use super::{ExchangeId, SendError, SessionKey};
use crate::mcp::{ErrorCode, Kind, Message, RawId, Replace, error_for};

const PROGRESS: &str = "notifications/progress";
const CANCELLED: &str = "notifications/cancelled";

/// An id of ours on the wire: a JSON number, never used again.
type WireId = u64;

/// The state of one wire.
#[derive(Default)]
pub(super) struct Mux {
    last: WireId,
    in_flight: HashMap<WireId, Request>,
    /// The sessions with requests in flight.
    sessions: HashMap<SessionKey, Session>,
    /// The child's requests that wait for an answer, by the child's id, and who was asked.
    asked: HashMap<RawId, SessionKey>,
}

/// A request in flight.
struct Request {
    session: SessionKey,
    exchange: ExchangeId,
    id: RawId,
    token: Option<RawId>,
    /// `initialize` must not be cancelled (2025-11-25, Cancellation, Behavior Requirements 2).
    may_be_cancelled: bool,
}

/// One session's requests in flight, by the client's id and by the gateway's number.
#[derive(Default)]
struct Session {
    by_id: HashMap<RawId, WireId>,
    by_exchange: HashMap<ExchangeId, WireId>,
}

/// Where a message from the child belongs; ids and tokens in it are the client's own again.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to that request; nothing follows for it.
    Last(SessionKey, ExchangeId, Message),
    /// Progress for that request.
    More(SessionKey, ExchangeId, Message),
    /// Concerns a question that this session was asked: the server takes it back.
    ToAsked(SessionKey, Message),
    /// A notification or a request without an owner. Before a request goes to a session, call
    /// [`Mux::ask`].
    Unowned(Message),
    /// Answers, or reports on, nothing that is in flight: dropped.
    Stray(Message),
}

impl Mux {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A client's request: appends its line for the child to `out`.
    pub(super) fn request(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let (Kind::Request, Some(id)) = (message.kind(), message.id()) else {
            return Err(SendError::NotAsked);
        };
        let id = id.detached();
        let of_session = self.sessions.entry(session).or_default();
        if of_session.by_id.contains_key(&id) || of_session.by_exchange.contains_key(&exchange) {
            return Err(SendError::DuplicateId);
        }
        self.last += 1;
        of_session.by_id.insert(id.clone(), self.last);
        of_session.by_exchange.insert(exchange, self.last);
        let token = message.progress_token().map(|token| token.detached());
        let request = Request {
            session,
            exchange,
            id,
            token,
            may_be_cancelled: message.method() != Some("initialize"),
        };
        self.in_flight.insert(self.last, request);
        let wire = self.last.to_string();
        let replace = Replace {
            id: Some(wire.as_bytes()),
            progress_token: Some(wire.as_bytes()),
            cancelled_id: None,
        };
        message.write(out, replace, true);
        Ok(())
    }

    /// A client's notification. A `notifications/cancelled` has its request id replaced, and is
    /// left out (`false`) if the request is not in flight, or is `initialize`. The request stays
    /// in flight.
    pub(super) fn notification(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> bool {
        if message.kind() != Kind::Notification {
            return false;
        }
        if message.method() != Some(CANCELLED) {
            message.write(out, Replace::default(), true);
            return true;
        }
        let Some(wire) = self.cancellable(session, message.cancelled_id()) else {
            return false;
        };
        let wire = wire.to_string();
        let replace = Replace {
            cancelled_id: Some(wire.as_bytes()),
            ..Replace::default()
        };
        message.write(out, replace, true);
        true
    }

    /// A client's answer to a question of the server's.
    pub(super) fn answer(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let (Kind::Response { .. }, Some(id)) = (message.kind(), message.id()) else {
            return Err(SendError::NotAsked);
        };
        if !self.withdraw(session, &id) {
            return Err(SendError::NotAsked);
        }
        message.write(out, Replace::default(), true);
        Ok(())
    }

    /// Records that the server's request `id` goes to `session`, which alone may answer it.
    /// `false` if a request with this id is still waiting.
    pub(super) fn ask(&mut self, session: SessionKey, id: &RawId) -> bool {
        if self.asked.contains_key(id) {
            return false;
        }
        self.asked.insert(id.detached(), session);
        true
    }

    /// The question is withdrawn from the session (it could not be delivered in time): appends an
    /// error answer for the child, if it was still waiting.
    pub(super) fn refuse(
        &mut self,
        session: SessionKey,
        id: &RawId,
        why: &str,
        out: &mut BytesMut,
    ) {
        if self.withdraw(session, id) {
            write_refusal(id, why, out);
        }
    }

    /// A message from the child.
    pub(super) fn incoming(&mut self, message: Message) -> Incoming {
        match message.kind() {
            Kind::Response { .. } => self.child_answered(message),
            Kind::Request => Incoming::Unowned(message),
            Kind::Notification => match message.method() {
                Some(PROGRESS) => self.child_progressed(message),
                Some(CANCELLED) => self.child_cancelled(message),
                _ => Incoming::Unowned(message),
            },
        }
    }

    /// Gives up on a request: appends a `notifications/cancelled` for the child; a late answer is
    /// then a stray.
    pub(super) fn cancel(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        why: &str,
        out: &mut BytesMut,
    ) {
        let of_session = self.sessions.get(&session);
        let wire = of_session.and_then(|session| session.by_exchange.get(&exchange));
        let Some(&wire) = wire else { return };
        if let Some(request) = self.finish(wire) {
            request.write_cancelled(wire, why, out);
        }
    }

    /// The session ends: cancels its requests and refuses its questions towards the child.
    pub(super) fn leave(&mut self, session: SessionKey, out: &mut BytesMut) {
        const WHY: &str = "the session has ended";
        let of_session = self.sessions.remove(&session).unwrap_or_default();
        for wire in of_session.by_exchange.into_values() {
            if let Some(request) = self.in_flight.remove(&wire) {
                request.write_cancelled(wire, WHY, out);
            }
        }
        for (id, _) in self.asked.extract_if(|_, asked| *asked == session) {
            write_refusal(&id, WHY, out);
        }
    }

    /// The session that alone has requests in flight, if there is exactly one.
    pub(super) fn only_session(&self) -> Option<SessionKey> {
        let mut sessions = self.sessions.keys().copied();
        sessions.next().filter(|_| sessions.next().is_none())
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn child_answered(&mut self, message: Message) -> Incoming {
        let wire = message.id().and_then(|id| wire_id(&id));
        let Some(request) = wire.and_then(|wire| self.finish(wire)) else {
            return Incoming::Stray(message);
        };
        let replace = Replace {
            id: Some(request.id.as_bytes()),
            ..Replace::default()
        };
        let restored = message.rewritten(replace);
        Incoming::Last(request.session, request.exchange, restored)
    }

    /// None may come after the answer (2025-11-25, Progress, Behavior Requirements 1).
    fn child_progressed(&self, message: Message) -> Incoming {
        let wire = message.progress_token().and_then(|token| wire_id(&token));
        let request = wire.and_then(|wire| self.in_flight.get(&wire));
        let Some((request, token)) =
            request.and_then(|request| Some((request, request.token.as_ref()?)))
        else {
            return Incoming::Stray(message);
        };
        let replace = Replace {
            progress_token: Some(token.as_bytes()),
            ..Replace::default()
        };
        let restored = message.rewritten(replace);
        Incoming::More(request.session, request.exchange, restored)
    }

    /// The child takes a question of its own back; nobody else's request is its to cancel.
    fn child_cancelled(&mut self, message: Message) -> Incoming {
        let id = message.cancelled_id();
        match id.and_then(|id| self.asked.remove(&id)) {
            Some(session) => Incoming::ToAsked(session, message),
            None => Incoming::Stray(message),
        }
    }

    /// The wire id of a session's request that may be cancelled.
    fn cancellable(&self, session: SessionKey, id: Option<RawId>) -> Option<WireId> {
        let wire = *self.sessions.get(&session)?.by_id.get(&id?)?;
        let request = self.in_flight.get(&wire)?;
        request.may_be_cancelled.then_some(wire)
    }

    /// Takes the session's question off the list; whether it was there.
    fn withdraw(&mut self, session: SessionKey, id: &RawId) -> bool {
        self.asked.get(id) == Some(&session) && self.asked.remove(id).is_some()
    }

    fn finish(&mut self, wire: WireId) -> Option<Request> {
        let request = self.in_flight.remove(&wire)?;
        if let Some(session) = self.sessions.get_mut(&request.session) {
            session.by_id.remove(&request.id);
            session.by_exchange.remove(&request.exchange);
            if session.by_id.is_empty() {
                self.sessions.remove(&request.session);
            }
        }
        Some(request)
    }
}

impl Request {
    fn write_cancelled(&self, wire: WireId, why: &str, out: &mut BytesMut) {
        if !self.may_be_cancelled {
            return;
        }
        let why = serde_json::Value::from(why);
        let line = format!(
            r#"{{"jsonrpc":"2.0","method":"{CANCELLED}","params":{{"requestId":{wire},"reason":{why}}}}}"#
        );
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\n");
    }
}

fn write_refusal(id: &RawId, why: &str, out: &mut BytesMut) {
    out.extend_from_slice(&error_for(id, ErrorCode::InternalError, why));
    out.extend_from_slice(b"\n");
}

/// An id or token of ours, if it is the very number that we wrote.
fn wire_id(id: &RawId) -> Option<WireId> {
    std::str::from_utf8(id.as_bytes()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
