//! The ids, progress tokens and pending questions on one child's wire. No I/O: state and rules only.
//!
//! Every request gets an id of its own on the wire, so two clients that both send `id: 1` cannot
//! cross, by construction.

use bytes::BytesMut;

use super::{ExchangeId, SendError, SessionKey};
use crate::mcp::{Message, RawId};

/// The state of one wire.
pub struct Mux {}

/// Where a message from the child belongs; ids and tokens in it are the client's own again.
#[derive(Debug)]
pub enum Incoming {
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
    pub fn new() -> Self {
        todo!()
    }

    /// A client's request: appends its line for the child to `out`.
    pub fn request(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let _ = (session, exchange, message, out);
        todo!()
    }

    /// A client's notification. A `notifications/cancelled` has its request id replaced, and is
    /// left out (`false`) if the request is not in flight.
    pub fn notification(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> bool {
        let _ = (session, message, out);
        todo!()
    }

    /// A client's answer to a question of the server's.
    pub fn answer(
        &mut self,
        session: SessionKey,
        message: &Message,
        out: &mut BytesMut,
    ) -> Result<(), SendError> {
        let _ = (session, message, out);
        todo!()
    }

    /// Records that the server's request `id` goes to `session`, which alone may answer it.
    /// `false` if a request with this id is still waiting.
    pub fn ask(&mut self, session: SessionKey, id: RawId) -> bool {
        let _ = (session, id);
        todo!()
    }

    /// The question is withdrawn from the session (it could not be delivered in time): appends an
    /// error answer for the child, if it was still waiting.
    pub fn refuse(&mut self, session: SessionKey, id: &RawId, why: &str, out: &mut BytesMut) {
        let _ = (session, id, why, out);
        todo!()
    }

    /// A message from the child.
    pub fn incoming(&mut self, message: Message) -> Incoming {
        let _ = message;
        todo!()
    }

    /// Gives up on a request: appends a `notifications/cancelled` for the child; a late answer is
    /// then a stray.
    pub fn cancel(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        why: &str,
        out: &mut BytesMut,
    ) {
        let _ = (session, exchange, why, out);
        todo!()
    }

    /// The session ends: cancels its requests and refuses its questions towards the child.
    pub fn leave(&mut self, session: SessionKey, out: &mut BytesMut) {
        let _ = (session, out);
        todo!()
    }

    /// The session that alone has requests in flight, if there is exactly one.
    pub fn only_session(&self) -> Option<SessionKey> {
        todo!()
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> usize {
        todo!()
    }
}
