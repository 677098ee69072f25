//! The body of the wrapped server's answer, and the connection that it comes over.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::pool::{OpenStream, Pool, Single};

/// An answer's body. Dropped before its end, it ends the exchange: the connection, or its stream.
pub struct Download {
    body: Incoming,
    /// Until the answer's end.
    carrier: Option<Carrier>,
    /// What [`Self::at_once`] found of a body that is longer.
    ahead: Option<Bytes>,
    /// Waits for one turn, in which what came before it goes out: a client whose connection closes
    /// without a word may try again what has run.
    failure: Option<hyper::Error>,
}

/// What an exchange runs on.
pub(super) enum Carrier {
    Single(Lease),
    Multiplexed { _open: OpenStream },
}

/// An HTTP/1 connection while an exchange is on it. Unless that came to its proper end, the
/// connection is dropped, and with that closed.
pub(super) struct Lease {
    single: Option<Single>,
    pool: Rc<Pool>,
    /// For how long it may rest afterwards.
    pub(super) idle: Duration,
}

impl Lease {
    pub(super) const fn new(single: Single, pool: Rc<Pool>, idle: Duration) -> Self {
        Self {
            single: Some(single),
            pool,
            idle,
        }
    }

    pub(super) const fn single(&mut self) -> Option<&mut Single> {
        self.single.as_mut()
    }

    fn end(mut self) {
        let Some(single) = self.single.take_if(|single| single.watch.is_in_step()) else {
            return;
        };
        self.pool.give_back(single, self.idle);
    }
}

impl Download {
    pub(super) fn new(body: Incoming, carrier: Carrier) -> Self {
        let mut download = Self {
            body,
            carrier: Some(carrier),
            ahead: None,
            failure: None,
        };
        download.note_end();
        download
    }

    /// All of the body, if it came along with the head: most answers are that small. They need
    /// nobody who waits for them, and leave their connection to the next request.
    pub fn at_once(&mut self) -> Option<Bytes> {
        let length = self.size_hint().exact()?;
        let mut nobody = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *self).poll_frame(&mut nobody) else {
            return None;
        };
        let data = frame.into_data().unwrap_or_default();
        if data.len() as u64 == length {
            return Some(data);
        }
        self.ahead = Some(data);
        None
    }

    fn note_end(&mut self) {
        if self.body.is_end_stream() {
            self.end();
        }
    }

    /// What the body waits for is done here, by whoever waits: nobody else reads the connection.
    fn poll_body(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(Carrier::Single(lease)) = &mut self.carrier else {
            return Pin::new(&mut self.body).poll_frame(context);
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut nobody) {
            return Poll::Ready(frame);
        }
        if let Some(single) = lease.single() {
            single.drive(context);
        }
        Pin::new(&mut self.body).poll_frame(&mut nobody)
    }

    fn end(&mut self) {
        if let Some(Carrier::Single(lease)) = self.carrier.take() {
            lease.end();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(data) = self.ahead.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        loop {
            match ready!(self.poll_body(context)) {
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.end();
                    return Poll::Ready(None);
                }
                // Trailers go no further.
                Some(Ok(frame)) if !frame.is_data() => {}
                frame => {
                    self.note_end();
                    return Poll::Ready(frame);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let ahead = self.ahead.as_ref().map_or(0, Bytes::len) as u64;
        match self.body.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(ahead + rest),
            None => SizeHint::default(),
        }
    }
}
