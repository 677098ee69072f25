//! Which worker a connection belongs to. The first request often names a session, and a session's
//! child has its pipes on one worker: served there, a call never crosses threads. Each crossing
//! costs a wake-up, which at one call in flight is a third of the whole way.

use std::future::poll_fn;
use std::io;
use std::task::{Poll, ready};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::activity::Stream;
use super::{Drain, Service};

/// As much of the first request as is looked at, in bytes.
const GLANCE: usize = 4096;

/// Looks at a connection's first bytes without taking them. `Err` if none come within `patience`,
/// or the drain begins: then there is nothing to serve.
pub(super) async fn of<S: Service>(
    stream: &Stream,
    service: &S,
    drain: &Drain,
    patience: Duration,
) -> Result<Option<ThreadId>, Silent> {
    // Behind a unix socket is a proxy, whose connections carry everybody's requests.
    let Stream::Tcp(stream) = stream else {
        return Ok(None);
    };
    tokio::select! {
        biased;
        () = drain.ended() => Err(Silent),
        glance = tokio::time::timeout(patience, glance(stream, service)) => match glance {
            Ok(Ok(home)) => Ok(home),
            Ok(Err(_)) | Err(_) => Err(Silent),
        }
    }
}

/// The client says nothing, or has gone.
pub(super) struct Silent;

async fn glance<S: Service>(stream: &TcpStream, service: &S) -> io::Result<Option<ThreadId>> {
    poll_fn(|context| {
        let mut bytes = [0; GLANCE];
        let mut seen = ReadBuf::new(&mut bytes);
        let count = ready!(stream.poll_peek(context, &mut seen))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(service.home(seen.filled())))
    })
    .await
}
