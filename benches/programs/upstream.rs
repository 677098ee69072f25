//! An HTTP server to stand behind proxies: a fixed body for every POST; for a GET of `/mcp` an event
//! stream that says one thing and then nothing, for any other GET 100 MB in chunks.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, header};

use crate::baseline::ANSWER;
use crate::workers;

const CHUNK: &[u8] = &[b'x'; 64 * 1024];
const CHUNKS: usize = 100 * 1024 * 1024 / CHUNK.len();
const EVENT: &[u8] =
    b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n";

enum Answer {
    Whole(Option<&'static [u8]>),
    /// Whether the one event has been said.
    Events {
        said: bool,
    },
    /// Chunks still to come.
    Bulk(usize),
}

pub(crate) fn run(port: &str, how_many: &str) -> anyhow::Result<()> {
    workers::serve(port, how_many, || || service_fn(answer))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let (kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/mcp") => ("text/event-stream", Answer::Events { said: false }),
        (&Method::GET, _) => ("application/octet-stream", Answer::Bulk(CHUNKS)),
        _ => {
            let _ = request.into_body().collect().await;
            ("application/json", Answer::Whole(Some(ANSWER)))
        }
    };
    let mut response = Response::new(body);
    if let Answer::Whole(_) = response.body() {
        let length = header::HeaderValue::from(ANSWER.len());
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, length);
    }
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut *self {
            Self::Whole(body) => body.take(),
            // Nobody ever wakes this stream again.
            Self::Events { said: true } => return Poll::Pending,
            Self::Events { said } => {
                *said = true;
                Some(EVENT)
            }
            Self::Bulk(0) => None,
            Self::Bulk(left) => {
                *left -= 1;
                Some(CHUNK)
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(Bytes::from_static(bytes)))))
    }
}
