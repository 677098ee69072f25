//! What the guard is held against: hyper with nothing behind it, on the same number of workers; the
//! request's body is read, one fixed body answers.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};

use crate::workers;

/// As long as the guard's answer to the load's call.
pub(crate) const ANSWER: &[u8] = concat!(
    r#"{"jsonrpc":"2.0","id":10000000,"result":{"content":[{"type":"text","text":""#,
    r"The quick brown fox jumps over the lazy dog, and then once more.",
    r#""}]}}"#
)
.as_bytes();

pub(crate) fn run(port: &str, how_many: &str) -> anyhow::Result<()> {
    workers::serve(port, how_many, || || service_fn(answer))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(ANSWER)));
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
