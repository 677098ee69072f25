//! What the sessions on one wire and its child have between them: state and rules, no I/O.
//!
//! All of it stands behind the wire's lock. On a wire with several sessions, what concerns the
//! child as a whole (`initialize`, subscriptions) passes once, and the others are answered here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::handshake::{Handshake, Step, Waiter};
use super::mux::Mux;
use super::outbox::Outbox;
use super::subscriptions::Subscriptions;
use super::wire::Stop;
use super::{Client, Delivery, ExchangeId, Isolation, SendError, SessionKey};
use crate::mcp::{Kind, Message, RawId};

/// In whose name the wire itself asks: no session has this key, as they are counted up from zero.
pub(super) const OWN: SessionKey = SessionKey(u64::MAX);

/// So many timeouts without a sign of life from the child between them end it (R-08).
const TIMEOUTS: u32 = 3;

/// Who is attached and what is under way. Who gets what the child says by itself is decided in `routing`.
pub(super) struct State<C: Client> {
    pub(super) isolation: Isolation,
    pub(super) mux: Mux,
    pub(super) outbox: Outbox,
    pub(super) clients: HashMap<SessionKey, Arc<C>>,
    pub(super) subscriptions: Subscriptions,
    /// The session that spoke last.
    pub(super) recent: Option<SessionKey>,
    pub(super) handshake: Handshake,
    pub(super) open: bool,
    pub(super) stop: Option<Stop>,
    /// Whether the child has ever answered a request; the first one is `initialize`.
    pub(super) answered: bool,
    pub(super) timeouts: u32,
    /// Requests that the client itself cancelled: a server does not answer those, and their
    /// timeout says nothing about it.
    called_off: usize,
    pub(super) idle_since: Option<Instant>,
}

/// A message on its way to a session.
pub(super) type Parcel<C> = (Arc<C>, Delivery);

impl<C: Client> State<C> {
    pub(super) fn new(isolation: Isolation) -> Self {
        Self {
            isolation,
            mux: Mux::new(),
            outbox: Outbox::default(),
            clients: HashMap::new(),
            subscriptions: Subscriptions::default(),
            recent: None,
            handshake: Handshake::default(),
            open: true,
            stop: None,
            answered: false,
            timeouts: 0,
            called_off: 0,
            idle_since: None,
        }
    }

    pub(super) fn admit(
        &mut self,
        session: SessionKey,
        message: &Message,
    ) -> Result<(), SendError> {
        if !self.open {
            return Err(SendError::Gone);
        }
        if !self.outbox.has_room(message.bytes().len()) {
            return Err(SendError::Congested);
        }
        self.recent = Some(session);
        Ok(())
    }

    pub(super) fn request(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
    ) -> Result<(), SendError> {
        self.mux
            .request(session, exchange, message, &mut self.outbox.lines)
    }

    pub(super) fn notify(&mut self, session: SessionKey, message: &Message) {
        let passed = self
            .mux
            .notification(session, message, &mut self.outbox.lines);
        if passed && message.method() == Some("notifications/cancelled") {
            self.called_off = (self.called_off + 1).min(self.mux.in_flight());
        }
    }

    /// Whether this was one too many.
    pub(super) fn count_timeout(&mut self) -> bool {
        if self.called_off > 0 {
            self.called_off -= 1;
        } else {
            self.timeouts += 1;
        }
        self.timeouts >= TIMEOUTS
    }

    /// A request on a wire with several sessions: the answer, if it is known without the child.
    pub(super) fn shared_request(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
    ) -> Result<Option<Message>, SendError> {
        match message.method() {
            Some("initialize") => return self.initialize(session, exchange, message),
            Some("resources/subscribe") => {
                if let Some(uri) = message.uri() {
                    self.subscriptions.add(session, uri);
                }
            }
            Some("resources/unsubscribe") => {
                let uri = message.uri().unwrap_or_default();
                let others_follow = !self.subscriptions.remove(session, &uri);
                if let (true, Some(id)) = (others_follow, message.id()) {
                    return Ok(Message::parse(empty_result(&id)).ok());
                }
            }
            _ => {}
        }
        self.request(session, exchange, message).map(|()| None)
    }

    fn initialize(
        &mut self,
        session: SessionKey,
        exchange: ExchangeId,
        message: &Message,
    ) -> Result<Option<Message>, SendError> {
        let waiter = Waiter {
            session,
            exchange,
            message: message.clone(),
        };
        match self.handshake.begin(waiter) {
            Step::Wait => Ok(None),
            Step::Answer(answer) => Ok(Some(answer)),
            Step::Ask => {
                let asked = self.request(OWN, ExchangeId(0), message);
                if asked.is_err() {
                    self.handshake.unask();
                }
                asked.map(|()| None)
            }
        }
    }

    /// The child's answer to the wire's own `initialize`. After an error the next one is tried.
    pub(super) fn initialized(&mut self, answer: Message) -> Vec<Parcel<C>> {
        self.answered = true;
        let is_error = answer.kind() == Kind::Response { is_error: true };
        let answers = self.handshake.answered(answer, is_error);
        if let Some(next) = self.handshake.next() {
            // It cannot fail: the wire has no other request in flight.
            if self.request(OWN, ExchangeId(0), &next).is_err() {
                self.handshake.unask();
            }
        }
        let parcel = |(session, exchange, answer)| {
            Some((self.client(session)?, Delivery::Last(exchange, answer)))
        };
        answers.into_iter().filter_map(parcel).collect()
    }

    pub(super) fn client(&self, session: SessionKey) -> Option<Arc<C>> {
        self.clients.get(&session).cloned()
    }

    /// Why to stop now, or else when to look again. Being idle for too long closes the wire under
    /// the same lock that found it so: nobody can attach in between.
    pub(super) fn verdict(&mut self, idle: Duration) -> (Option<Stop>, Option<Instant>) {
        let deadline = self.idle_since.and_then(|since| since.checked_add(idle));
        if self.stop.is_none() && deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.stop = Some(Stop::Idle);
            self.open = false;
        }
        (self.stop, deadline)
    }
}

/// A result that says only that it was done.
pub(super) fn empty_result(id: &RawId) -> Bytes {
    let parts: [&[u8]; 3] = [
        br#"{"jsonrpc":"2.0","id":"#,
        id.as_bytes(),
        br#","result":{}}"#,
    ];
    Bytes::from(parts.concat())
}
