//! Which child a session gets: by isolation, under the caps, with backoff after crashes.

use std::sync::Arc;

use super::{Attachment, Caller, Client, JoinError, Settings};

/// All children of one wrapped server.
pub struct Children<C: Client> {
    _clients: std::marker::PhantomData<C>,
}

impl<C: Client> Children<C> {
    pub fn new(settings: Settings) -> Arc<Self> {
        let _ = settings;
        todo!()
    }

    /// Attaches a session to a child, starting one if it needs to. The child's pipes are served by
    /// tasks on the runtime that this is called on, if it starts one.
    pub async fn join(
        self: &Arc<Self>,
        caller: &Caller,
        client: Arc<C>,
    ) -> Result<Attachment<C>, JoinError> {
        let _ = (caller, client);
        todo!()
    }

    /// Children alive now.
    pub fn count(&self) -> usize {
        todo!()
    }

    /// Stops all children (stdin EOF → SIGTERM → SIGKILL of the group) and starts no more.
    pub async fn stop(&self) {
        todo!()
    }
}
