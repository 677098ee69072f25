//! What a session says to its child.

use super::{Client, ExchangeId, SendError};
use crate::mcp::{Message, RawId};

/// A session's place on a wire. Dropping it leaves: under session isolation the child is stopped.
pub struct Attachment<C: Client> {
    _client: std::marker::PhantomData<C>,
}

impl<C: Client> Attachment<C> {
    /// A request, `initialize` included: on a wire whose child is initialised already, that is
    /// answered from the first answer (user and shared isolation). The answer arrives as
    /// [`super::Delivery::Last`].
    pub fn request(&self, exchange: ExchangeId, message: &Message) -> Result<(), SendError> {
        let _ = (exchange, message);
        todo!()
    }

    /// A notification.
    pub fn notify(&self, message: &Message) -> Result<(), SendError> {
        let _ = message;
        todo!()
    }

    /// The client's answer to a request of the server's.
    pub fn respond(&self, message: &Message) -> Result<(), SendError> {
        let _ = message;
        todo!()
    }

    /// The server's request `id` found no stream to this client: the child gets an error answer.
    pub fn refuse(&self, id: &RawId, why: &str) {
        let _ = (id, why);
        todo!()
    }

    /// Gives up on a request (timeout): the child is told.
    pub fn cancel(&self, exchange: ExchangeId, why: &str) {
        let _ = (exchange, why);
        todo!()
    }
}
