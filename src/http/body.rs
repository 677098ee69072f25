//! The two body types: what comes in, read whole under a limit, and what goes out.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The body of a request. Nothing reads it before the request is authenticated.
pub enum RequestBody {
    /// From the wire.
    Incoming(hyper::body::Incoming),
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
    /// The whole body. Reads no more than `limit` bytes, and waits no longer than `patience`.
    pub async fn read(self, limit: usize, patience: Duration) -> Result<Bytes, BodyError> {
        let _ = (limit, patience);
        todo!()
    }
}

/// The body of a reply.
pub enum Body {
    /// Nothing, or all of it at once.
    Full(Option<Bytes>),
    /// Chunks as they come: event streams.
    Stream(Pin<Box<dyn http_body::Body<Data = Bytes, Error = std::convert::Infallible>>>),
}

impl Body {
    /// No body.
    pub const fn empty() -> Self {
        Self::Full(None)
    }

    /// A body that comes in chunks.
    pub fn stream(
        body: impl http_body::Body<Data = Bytes, Error = std::convert::Infallible> + 'static,
    ) -> Self {
        Self::Stream(Box::pin(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

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
