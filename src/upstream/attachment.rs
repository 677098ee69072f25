//! What a session says to its child.

use std::sync::Arc;
use std::thread::ThreadId;

use super::wire::Wire;
use super::{Client, ExchangeId, SendError, SessionKey};
use crate::mcp::{Message, RawId};

/// A session's place on a wire. Dropping it leaves: under session isolation the child is stopped.
pub struct Attachment<C: Client> {
    wire: Arc<Wire<C>>,
    session: SessionKey,
}

impl<C: Client> Attachment<C> {
    /// `None` if the wire has ended.
    pub(super) fn new(wire: &Arc<Wire<C>>, client: &Arc<C>) -> Option<Self> {
        wire.attach(client).then(|| Self {
            wire: Arc::clone(wire),
            session: client.key(),
        })
    }

    /// The thread that serves the child's pipes: from there, a message is fastest with it.
    pub fn home(&self) -> ThreadId {
        self.wire.home()
    }

    /// A request, `initialize` included: on a wire whose child is initialised already, that is
    /// answered from the first answer (user and shared isolation). The answer arrives as
    /// [`super::Delivery::Last`].
    pub fn request(&self, exchange: ExchangeId, message: &Message) -> Result<(), SendError> {
        self.wire.request(self.session, exchange, message)
    }

    /// A notification.
    pub fn notify(&self, message: &Message) -> Result<(), SendError> {
        self.wire.notify(self.session, message)
    }

    /// The client's answer to a request of the server's.
    pub fn respond(&self, message: &Message) -> Result<(), SendError> {
        self.wire.respond(self.session, message)
    }

    /// The server's request `id` found no stream to this client: the child gets an error answer.
    pub fn refuse(&self, id: &RawId, why: &str) {
        self.wire.refuse(self.session, id, why);
    }

    /// Gives up on a request (timeout): the child is told. A child that lets several in a row time
    /// out and says nothing at all meanwhile is stopped.
    pub fn cancel(&self, exchange: ExchangeId, why: &str) {
        self.wire.cancel(self.session, exchange, why);
    }
}

impl<C: Client> Drop for Attachment<C> {
    fn drop(&mut self) {
        self.wire.leave(self.session);
    }
}
