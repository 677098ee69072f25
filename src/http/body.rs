//! The two body types: what comes in, read whole under a limit, and what goes out.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Pace, wakeup};

/// The body of a request. Nothing reads it before the request is authenticated.
pub enum RequestBody {
    /// From the wire.
    Incoming(Incoming),
    /// Already here (tests, in-process calls).
    Whole(Bytes),
}

/// Why a request's body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("the body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the body did not arrive in time")]
    TimedOut,
    #[error("the body broke off")]
    Broken,
}

impl RequestBody {
    /// The whole body. Reads no more than `limit` bytes, at the [`Pace`] of `patience`.
    ///
    /// A body that says in its Content-Length that it is too large is not read at all.
    pub async fn read(self, limit: usize, patience: Duration) -> Result<Bytes, BodyError> {
        let body = match self {
            Self::Incoming(body) => body,
            Self::Whole(bytes) if bytes.len() > limit => return Err(BodyError::TooLarge { limit }),
            Self::Whole(bytes) => return Ok(bytes),
        };
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyError::TooLarge { limit });
        }
        collect(body, limit, patience).await
    }
}

/// Most bodies are one chunk: that is handed on as it came, without a copy. Most came along with
/// their head: those need no timer.
async fn collect(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut pace = None;
    while !body.is_end_stream() {
        let received = first.len().max(all.len());
        let frame = match poll_fn(|context| Poll::Ready(take(&mut body, context))).await {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let pace: &mut Pace = pace.get_or_insert_with(|| Pace::begin(patience));
                let frame = tokio::time::timeout_at(pace.due(received), body.frame());
                frame.await.map_err(|_| BodyError::TimedOut)?
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        if received + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// What there is of a body. The connection need not know that its last piece was taken.
fn take(
    body: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let (frame, woke) = wakeup::held_back(|| Pin::new(&mut *body).poll_frame(context));
    if woke && !body.is_end_stream() {
        context.waker().wake_by_ref();
    }
    frame
}

/// The body of a reply.
pub enum Body {
    /// Nothing, or all of it at once.
    Full(Option<Bytes>),
    /// Chunks as they come: event streams, and what a wrapped server answers.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Cut>>>),
}

/// A body that ended before it was whole. hyper then cuts the connection, so that nobody takes what
/// came for all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body was cut off")]
pub struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::Full(None)
    }

    /// A body that comes in chunks.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<Cut>> + 'static,
    {
        Self::Stream(Box::pin(body.map_err(Into::into)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(bytes) => bytes.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// What reading yields when `wire` arrives, and the client's end of the connection.
    async fn read(wire: &[u8], limit: usize) -> Result<Bytes, BodyError> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(wire).await.unwrap();
        read_from(&mut Some(client), server, limit).await
    }

    async fn read_from(
        client: &mut Option<DuplexStream>,
        server: DuplexStream,
        limit: usize,
    ) -> Result<Bytes, BodyError> {
        read_within(client, server, limit, PATIENCE).await
    }

    async fn read_within(
        client: &mut Option<DuplexStream>,
        server: DuplexStream,
        limit: usize,
        patience: Duration,
    ) -> Result<Bytes, BodyError> {
        let (send, mut receive) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let send = send.clone();
            async move {
                let body = RequestBody::Incoming(request.into_body());
                let _ = send.send(body.read(limit, patience).await);
                Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        let result = tokio::select! {
            result = receive.recv() => result,
            _ = connection => receive.try_recv().ok(),
        };
        drop(client.take());
        result.unwrap()
    }

    fn sized(length: usize, body: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}").into()
    }

    fn chunked(chunks: &[&str]) -> Vec<u8> {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = |chunk: &&str| format!("{:x}\r\n{chunk}\r\n", chunk.len());
        let chunks: String = chunks.iter().map(chunk).collect();
        format!("{head}{chunks}0\r\n\r\n").into()
    }

    #[tokio::test]
    async fn bodies_arrive_whole_however_they_are_framed() {
        assert_eq!(read(&sized(5, "hello"), 5).await.unwrap(), "hello");
        assert_eq!(read(&sized(0, ""), 5).await.unwrap(), "");
        assert_eq!(read(&chunked(&["hello"]), 5).await.unwrap(), "hello");
        assert_eq!(
            read(&chunked(&["he", "l", "lo"]), 5).await.unwrap(),
            "hello"
        );
        assert_eq!(read(&chunked(&[]), 5).await.unwrap(), "");
        let large = "x".repeat(300_000);
        assert_eq!(
            read(&sized(large.len(), &large), 1 << 20).await.unwrap(),
            large
        );
    }

    #[tokio::test]
    async fn a118_a_body_that_is_too_large_is_refused_before_it_is_read() {
        // Only its length ever arrives.
        let refused = read(&sized(1_000_000_000, ""), 5).await;
        assert!(matches!(refused, Err(BodyError::TooLarge { limit: 5 })));
    }

    #[tokio::test]
    async fn a118_a_body_without_a_length_is_refused_where_it_becomes_too_large() {
        for chunks in [&["hello!"][..], &["hel", "lo!"], &["h", "ello", "!"]] {
            let refused = read(&chunked(chunks), 5).await;
            assert!(matches!(refused, Err(BodyError::TooLarge { limit: 5 })));
        }
        let whole = RequestBody::Whole(Bytes::from_static(b"hello!"));
        assert!(whole.read(5, PATIENCE).await.is_err());
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(&sized(10, "half")).await.unwrap();
        drop(client);
        let broken = read_from(&mut None, server, 100).await;
        assert!(matches!(broken, Err(BodyError::Broken)));
        let malformed = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
        assert!(matches!(read(malformed, 100).await, Err(BodyError::Broken)));
    }

    #[tokio::test(start_paused = true)]
    async fn a116_a_body_that_dawdles_is_given_up() {
        assert!(matches!(
            read(&sized(10, "half"), 100).await,
            Err(BodyError::TimedOut)
        ));
    }

    /// A body of which a piece comes every second.
    async fn dribble(piece: usize, seconds: usize) -> Result<Bytes, BodyError> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let head = sized(piece * seconds, "");
        let writer = tokio::spawn(async move {
            client.write_all(&head).await.unwrap();
            for _ in 0..seconds {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if client.write_all(&vec![b'x'; piece]).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        });
        let outcome = read_within(&mut None, server, 1 << 24, Duration::from_secs(30)).await;
        writer.abort();
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn a116_a_body_that_dribbles_is_given_up_and_a_slow_one_is_not() {
        assert!(matches!(dribble(200, 60).await, Err(BodyError::TimedOut)));
        // Of a good rate but without an end; then as large as it is long.
        assert!(matches!(dribble(1100, 60).await, Err(BodyError::TimedOut)));
        assert_eq!(dribble(40_000, 60).await.unwrap().len(), 2_400_000);
    }
}
