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

use super::frames::{Flood, Frames};
use super::stream::Stream;
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
    /// Exchanges under way; HTTP/2 has several at a time.
    open: Cell<usize>,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            phase: Cell::new(Phase::Silent),
            stalled: Cell::new(false),
            steps: Cell::new(0),
            open: Cell::new(0),
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

    /// A request's head is complete. The exchange lasts until what is returned is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.open.set(self.open.get() + 1);
        self.enter(Phase::Exchange);
        UnderWay(Rc::clone(self))
    }

    fn end(&self) {
        let left = self.open.get().saturating_sub(1);
        self.open.set(left);
        if left == 0 {
            self.enter(Phase::Idle);
        }
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

/// A stream that notes what passes.
pub(super) struct Observed {
    stream: Stream,
    activity: Rc<Activity>,
    /// Those of an HTTP/2 connection.
    frames: Option<Box<Frames>>,
}

impl Observed {
    pub(super) const fn http1(stream: Stream, activity: Rc<Activity>) -> Self {
        Self {
            stream,
            activity,
            frames: None,
        }
    }

    pub(super) fn http2(stream: Stream, activity: Rc<Activity>) -> Self {
        Self {
            stream,
            activity,
            frames: Some(Box::new(Frames::new())),
        }
    }

    fn note_read(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        let Some(frames) = &mut self.frames else {
            self.activity.received();
            return Ok(());
        };
        let had_begun = frames.has_begun();
        let outcome = frames.received(bytes);
        if frames.has_begun() && !had_begun {
            self.activity.enter(Phase::Idle);
        }
        outcome
    }

    fn note_write(&mut self, outcome: &Poll<io::Result<usize>>) {
        self.activity.wrote(outcome.is_ready());
        if let (Some(frames), Poll::Ready(Ok(count))) = (&mut self.frames, outcome) {
            frames.sent(*count);
        }
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        match buffer.filled().get(before..) {
            None | Some([]) => Poll::Ready(Ok(())),
            Some(bytes) => Poll::Ready(self.note_read(bytes).map_err(io::Error::other)),
        }
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// An exchange between a complete head and the end of the reply, or the client's giving up.
pub(super) struct UnderWay(Rc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A reply's body: hyper drops it when its last byte is on its way, and the exchange is over.
pub(super) struct Watched {
    body: Body,
    _exchange: UnderWay,
}

impl Watched {
    pub(super) const fn new(body: Body, exchange: UnderWay) -> Self {
        Self {
            body,
            _exchange: exchange,
        }
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
