//! A connection to the wrapped server, and what decides whether it may carry a second request
//! (threat case A-125).

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Shared by a connection's socket and whoever sends on it.
#[derive(Default)]
pub(super) struct Watch {
    /// More of the request's body is to come.
    uploading: Cell<bool>,
    /// Bytes of the request wait for the server to read.
    stuck: Cell<bool>,
    /// The server spoke before it had the whole request. What it makes of the rest is anybody's
    /// guess: the next request, perhaps.
    spoke_early: Cell<bool>,
}

impl Watch {
    pub(super) fn set_uploading(&self, uploading: bool) {
        self.uploading.set(uploading);
    }

    /// Whether every request so far was sent in full before it was answered.
    pub(super) fn is_in_step(&self) -> bool {
        !self.spoke_early.get() && !self.uploading.get()
    }

    fn received(&self) {
        if self.uploading.get() || self.stuck.get() {
            self.spoke_early.set(true);
        }
    }
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that notes what passes.
pub(super) struct Socket {
    stream: Stream,
    watch: Rc<Watch>,
}

impl Socket {
    pub(super) const fn new(stream: Stream, watch: Rc<Watch>) -> Self {
        Self { stream, watch }
    }

    fn note_write(&self, outcome: &Poll<io::Result<usize>>) {
        self.watch.stuck.set(outcome.is_pending());
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        })?;
        if buffer.filled().len() > before {
            self.watch.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
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
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        };
        self.note_write(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
