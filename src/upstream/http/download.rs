//! The body of the wrapped server's answer, and the connection that it comes over.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1::Fault;
use super::pool::{OpenStream, Pool, Single};
use super::trouble::chain;

/// An answer's body. Dropped before its end, it ends the exchange: the connection, or its stream.
pub struct Download {
    from: Source,
    /// Waits for one turn, in which what came before it goes out: a client whose connection closes
    /// without a word may try again what has run.
    failure: Option<BrokenOff>,
}

/// Where the rest of an answer comes from.
enum Source {
    /// There is none.
    Nowhere,
    Single(Lease),
    Multiplexed {
        body: Incoming,
        _open: OpenStream,
    },
}

/// An answer that ended before its end. The text is for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokenOff(String);

/// An HTTP/1 connection while an exchange is on it. Unless that came to its proper end, the
/// connection is dropped, and with that closed.
pub(super) struct Lease {
    pub(super) single: Box<Single>,
    pub(super) pool: Rc<Pool>,
    /// For how long it may rest afterwards.
    pub(super) idle: Duration,
}

impl Lease {
    fn end(self) {
        if self.single.connection.may_be_used_again() {
            self.pool.give_back(self.single, self.idle);
        }
    }
}

impl Download {
    pub(super) fn over_http1(lease: Lease) -> Self {
        let mut download = Self {
            from: Source::Single(lease),
            failure: None,
        };
        download.note_end();
        download
    }

    pub(super) const fn over_http2(body: Incoming, open: OpenStream) -> Self {
        Self {
            from: Source::Multiplexed { body, _open: open },
            failure: None,
        }
    }

    /// All of the body, if it came along with the head: most answers are that small. They need
    /// nobody who waits for them, and leave their connection to the next request.
    pub fn at_once(&mut self) -> Option<Bytes> {
        let Source::Single(lease) = &mut self.from else {
            return None;
        };
        let whole = lease.single.connection.take_whole()?;
        self.note_end();
        Some(whole)
    }

    fn note_end(&mut self) {
        let Source::Single(lease) = &self.from else {
            return;
        };
        if lease.single.connection.has_ended()
            && let Source::Single(lease) = std::mem::replace(&mut self.from, Source::Nowhere)
        {
            lease.end();
        }
    }

    fn poll_from(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.from {
            Source::Nowhere => Poll::Ready(None),
            Source::Single(lease) => {
                let data = ready!(lease.single.connection.poll_data(context));
                self.note_end();
                Poll::Ready(data.map(|data| data.map(Frame::data).map_err(BrokenOff::from)))
            }
            Source::Multiplexed { body, .. } => {
                let frame = ready!(Pin::new(body).poll_frame(context));
                let broken = |error| BrokenOff(chain(&error));
                Poll::Ready(frame.map(|frame| frame.map_err(broken)))
            }
        }
    }
}

impl From<Fault> for BrokenOff {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if let Some(failure) = self.failure.take() {
            return Poll::Ready(Some(Err(failure)));
        }
        loop {
            match ready!(self.poll_from(context)) {
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // Trailers go no further.
                Some(Ok(frame)) if !frame.is_data() => {}
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Source::Nowhere => true,
            Source::Single(_) => false,
            Source::Multiplexed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let exact = match &self.from {
            Source::Nowhere => Some(0),
            Source::Single(lease) => lease.single.connection.remaining(),
            Source::Multiplexed { body, .. } => body.size_hint().exact(),
        };
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
