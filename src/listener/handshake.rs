//! TLS handshakes, with a deadline and a bound on how many are under way: beyond it the oldest gives
//! way, because an honest client's takes milliseconds (threat cases ).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::stream::Plain;
use crate::tls::{ACME_TLS_ALPN, H2_ALPN};

/// Handshakes under way on one worker. Each holds some 20 KB.
const MOST: usize = 1024;

/// What the client wants to speak (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
    /// Nothing: the CA has seen what it came for (RFC 8737 §3).
    AcmeTls,
}

/// One worker's handshakes.
pub(super) struct Handshakes {
    acceptor: TlsAcceptor,
    /// The oldest first. Dropping one ends it; those of handshakes that are over stay until their
    /// turn comes.
    under_way: RefCell<VecDeque<oneshot::Sender<()>>>,
}

impl Handshakes {
    pub(super) fn new(config: &Arc<ServerConfig>) -> Self {
        Self {
            acceptor: TlsAcceptor::from(Arc::clone(config)),
            under_way: RefCell::default(),
        }
    }

    /// `None` if the client is too slow, has gone, wants what there is not, or has to give way. All
    /// of it is the client's or a stranger's doing, and not worth a line in the log.
    pub(super) async fn accept(
        &self,
        socket: Plain,
        patience: Duration,
    ) -> Option<(TlsStream<Plain>, Protocol)> {
        let give_way = self.enter();
        // Boxed: the connection's task would carry room for it as long as it lives.
        let handshake = Box::pin(self.acceptor.accept(socket));
        let stream = tokio::select! {
            biased;
            _ = give_way => return None,
            outcome = tokio::time::timeout(patience, handshake) => outcome.ok()?.ok()?,
        };
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(H2_ALPN) => Protocol::Http2,
            Some(ACME_TLS_ALPN) => Protocol::AcmeTls,
            _ => Protocol::Http1,
        };
        Some((stream, protocol))
    }

    fn enter(&self) -> oneshot::Receiver<()> {
        let (keep, give_way) = oneshot::channel();
        let mut under_way = self.under_way.borrow_mut();
        while under_way.front().is_some_and(oneshot::Sender::is_closed) {
            under_way.pop_front();
        }
        if under_way.len() >= MOST {
            under_way.retain(|handshake| !handshake.is_closed());
        }
        if under_way.len() >= MOST {
            under_way.pop_front();
        }
        under_way.push_back(keep);
        give_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Certificates, server_config};

    #[tokio::test]
    async fn a153_the_oldest_handshake_gives_way_to_the_newest() {
        let config = server_config(Certificates::new()).unwrap();
        let handshakes = Handshakes::new(&config);
        let mut first = handshakes.enter();
        let mut second = handshakes.enter();
        let over = handshakes.enter();
        let others: Vec<_> = (3..MOST).map(|_| handshakes.enter()).collect();
        drop(over);
        let _room = handshakes.enter();
        assert!(first.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        let _crowded = handshakes.enter();
        assert!(first.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(second.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(handshakes.under_way.borrow().len(), MOST);
        drop(others);
    }
}
