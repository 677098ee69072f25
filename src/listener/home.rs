//! Which worker a connection belongs to. The first request often names a session, and a session's
//! child has its pipes on one worker: served there, a call never crosses threads. Each crossing
//! costs a wake-up, which at one call in flight is a third of the whole way.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, ReadBuf};
use tokio::net::TcpStream;

use super::stream::{Plain, Secured, Stream};
use super::{Drain, Service};

/// As much of the first request as is looked at, in bytes.
const GLANCE: usize = 4096;

/// Looks at a connection's first bytes without taking them. `Err` if none come within `patience`,
/// or the drain begins: then there is nothing to serve.
pub(super) async fn of<S: Service>(
    stream: &mut Stream,
    service: &S,
    drain: &Drain,
    patience: Duration,
) -> Result<Option<ThreadId>, Silent> {
    let glance = async {
        match stream {
            Stream::Clear(Plain::Tcp(socket)) => peek(socket, service).await,
            Stream::Tls(secured) => read_ahead(secured, service).await,
            // Behind a unix socket is a proxy, whose connections carry everybody's requests.
            Stream::Clear(_) => Ok(None),
        }
    };
    tokio::select! {
        biased;
        () = drain.ended() => Err(Silent),
        glance = tokio::time::timeout(patience, glance) => match glance {
            Ok(Ok(home)) => Ok(home),
            Ok(Err(_)) | Err(_) => Err(Silent),
        }
    }
}

/// The client says nothing, or has gone.
pub(super) struct Silent;

async fn peek<S: Service>(socket: &TcpStream, service: &S) -> io::Result<Option<ThreadId>> {
    poll_fn(|context| {
        let mut bytes = [0; GLANCE];
        let mut seen = ReadBuf::new(&mut bytes);
        let count = ready!(socket.poll_peek(context, &mut seen))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(service.home(seen.filled())))
    })
    .await
}

/// What TLS has decrypted cannot be put back, so it is kept.
async fn read_ahead<S: Service>(
    secured: &mut Secured,
    service: &S,
) -> io::Result<Option<ThreadId>> {
    let mut bytes = BytesMut::with_capacity(GLANCE);
    if secured.tls.read_buf(&mut bytes).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    secured.ahead = bytes.freeze();
    Ok(service.home(&secured.ahead))
}
