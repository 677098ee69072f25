//! A client's byte stream: a socket, or TLS over one. Either can move to another worker.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connected socket. `Away` while it is on no worker's event queue.
pub(super) enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
    Away(Away),
}

/// A socket between two workers.
pub(super) enum Away {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    /// It could not be moved; whoever reads learns that it is gone.
    Lost,
}

impl Plain {
    fn leave(&mut self) -> io::Result<()> {
        let left = match std::mem::replace(self, Self::Away(Away::Lost)) {
            Self::Tcp(stream) => Away::Tcp(stream.into_std()?),
            Self::Unix(stream) => Away::Unix(stream.into_std()?),
            Self::Away(away) => away,
        };
        *self = Self::Away(left);
        Ok(())
    }

    fn arrive(&mut self) -> io::Result<()> {
        let arrived = match std::mem::replace(self, Self::Away(Away::Lost)) {
            Self::Away(Away::Tcp(stream)) => Self::Tcp(TcpStream::from_std(stream)?),
            Self::Away(Away::Unix(stream)) => Self::Unix(UnixStream::from_std(stream)?),
            here => here,
        };
        *self = arrived;
        Ok(())
    }
}

/// A client's stream.
pub(super) enum Stream {
    Clear(Plain),
    Tls(Box<Secured>),
}

/// TLS, and what of the client's first bytes was read ahead.
pub(super) struct Secured {
    pub(super) tls: TlsStream<Plain>,
    pub(super) ahead: Bytes,
}

impl Stream {
    pub(super) fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Takes the socket off this worker's event queue.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.socket().leave()
    }

    /// Puts the socket on this worker's event queue.
    pub(super) fn arrive(&mut self) -> io::Result<()> {
        self.socket().arrive()
    }

    fn socket(&mut self) -> &mut Plain {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(secured) => secured.tls.get_mut().0,
        }
    }
}

fn away<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Away(_) => away(),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Away(_) => away(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Away(_) => away(),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Away(_) => away(),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Away(_) => away(),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.tls).poll_read(context, buffer);
        }
        let count = self.ahead.len().min(buffer.remaining());
        if let Some(bytes) = self.ahead.get(..count) {
            buffer.put_slice(bytes);
        }
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(secured) => Pin::new(&mut **secured).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(secured) => Pin::new(&mut secured.tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Tls(secured) => Pin::new(&mut secured.tls).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(socket) => socket.is_write_vectored(),
            Self::Tls(secured) => secured.tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(secured) => Pin::new(&mut secured.tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(secured) => Pin::new(&mut secured.tls).poll_shutdown(context),
        }
    }
}
