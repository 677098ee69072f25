//! One request to the wrapped server over HTTP/2 (RFC 9113), beside others.

use std::pin::pin;
use std::time::Duration;

use hyper::client::conn::TrySendError;
use hyper::http::uri::{Authority, Scheme};
use hyper::{Request, Uri};
use tokio::time::timeout;

use super::download::Download;
use super::http1::Head;
use super::pool::Multiplexed;
use super::server::{LOOK, Outcome};
use super::trouble::{Trouble, chain};
use super::upload::{Progress, Upload};

/// The origin stands in the target, and not in Host (§8.3.1).
pub(super) fn request(
    head: &Head<'_>,
    authority: &Authority,
    body: Upload,
) -> Result<Request<Upload>, Trouble> {
    let target = Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority.clone())
        .path_and_query(head.target.clone())
        .build();
    let mut request = Request::new(body);
    *request.uri_mut() = target.map_err(|error| Trouble::Unreachable(error.to_string()))?;
    *request.method_mut() = head.method.clone();
    for (name, value) in head.fields.iter().copied().chain(head.constant.fields()) {
        request.headers_mut().append(name, value.clone());
    }
    Ok(request)
}

pub(super) async fn exchange(
    mut multiplexed: Multiplexed,
    request: Request<Upload>,
    patience: Duration,
) -> Outcome {
    let open = multiplexed.enter();
    let progress = request.body().progress();
    let response = multiplexed.sender.try_send_request(request);
    match within(patience, progress.as_deref(), response).await {
        Ok(Ok(response)) => {
            Outcome::Answered(response.map(|body| Download::over_http2(body, open)))
        }
        Ok(Err(error)) => failure(error, progress.as_deref()),
        Err(trouble) => Outcome::Failed(trouble),
    }
}

fn failure(mut error: TrySendError<Request<Upload>>, progress: Option<&Progress>) -> Outcome {
    if let Some(request) = error.take_message() {
        return Outcome::Unsent(request.into_body());
    }
    let fault = progress.and_then(Progress::fault);
    Outcome::Failed(fault.unwrap_or_else(|| Trouble::Broken(chain(error.error()))))
}

/// The head of the answer, if it comes within `patience`. A body on its way may take its time, as
/// long as it moves.
async fn within<F: Future>(
    patience: Duration,
    progress: Option<&Progress>,
    response: F,
) -> Result<F::Output, Trouble> {
    let mut response = pin!(response);
    if let Some(progress) = progress {
        let mut seen = 0;
        while !progress.is_finished() {
            if let Ok(response) = timeout(LOOK, response.as_mut()).await {
                return Ok(response);
            }
            let moved = progress.passed() - seen;
            if let Some(trouble) = progress.dawdles(moved, LOOK) {
                return Err(trouble);
            }
            // A server that takes no more may still answer.
            if moved == 0 {
                break;
            }
            seen += moved;
        }
    }
    let elapsed = |_| Trouble::Slow(patience);
    timeout(patience, response).await.map_err(elapsed)
}
