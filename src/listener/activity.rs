//! What a connection is doing, seen from both sides of hyper: the bytes below it and the requests
//! above it. hyper has one timeout for "no complete head yet", which cannot tell a connection that
//! rests between requests from one that dribbles a head; these few cells can.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::http::{Body, Cut};

/// Where a connection stands in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Accepted, and not a byte yet.
    Silent,
    /// Bytes of a head, which is not complete.
    Head,
    /// From a complete head to the end of the reply.
    Exchange,
    /// Between requests.
    Idle,
}

/// Shared by a connection's stream, its service and its watchdog.
pub(super) struct Activity {
    phase: Cell<Phase>,
    /// The reply's bytes do not go out: the client does not read.
    stalled: Cell<bool>,
    /// Counts what happens, so that two equal looks can be told from no change.
    steps: Cell<u64>,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Silent),
            stalled: Cell::new(false),
            steps: Cell::new(0),
        })
    }

    /// Phase, whether writing is stalled, and when the one or the other last changed, as a count.
    pub(super) fn look(&self) -> (Phase, bool, u64) {
        (self.phase.get(), self.stalled.get(), self.steps.get())
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.step();
    }

    fn step(&self) {
        self.steps.set(self.steps.get().wrapping_add(1));
    }

    fn received(&self) {
        if matches!(self.phase.get(), Phase::Silent | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    fn wrote(&self, went_out: bool) {
        if self.stalled.replace(!went_out) == went_out {
            self.step();
        }
    }
}

/// A client's stream.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that notes what passes.
pub(super) struct Observed {
    stream: Stream,
    activity: Rc<Activity>,
}

impl Observed {
    pub(super) const fn new(stream: Stream, activity: Rc<Activity>) -> Self {
        Self { stream, activity }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        self.activity.wrote(outcome.is_ready());
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        })?;
        if buffer.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        self.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A reply's body: hyper drops it when its last byte is on its way, and the connection rests.
pub(super) struct Watched {
    body: Body,
    activity: Rc<Activity>,
}

impl Watched {
    pub(super) const fn new(body: Body, activity: Rc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.activity.enter(Phase::Idle);
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
