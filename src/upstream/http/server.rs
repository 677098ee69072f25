//! One request to the wrapped server, and its answer: over a connection that rests, or a new one.
//!
//! A request that may have run is never sent a second time. Only one that hyper gives back unsent,
//! because its connection had just been closed, goes out on another.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::time::timeout;

use super::Settings;
use super::dial::{Dialer, Opened};
use super::download::{Carrier, Download, Lease};
use super::pool::{self, IDLE, Multiplexed, Pool, Single};
use super::trouble::{Trouble, chain};
use super::upload::{Progress, Upload};

/// How often the progress of a body is looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Numbers the servers of this process, so that each has its own pools.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The wrapped server.
pub struct Server {
    number: u64,
    /// `host[:port]`, for `Host` and for HTTP/2's `:authority`.
    authority: Option<(Authority, HeaderValue)>,
    dialer: Result<Dialer, &'static str>,
}

/// A request, but for what every request to this server has.
pub struct Outgoing {
    pub method: Method,
    pub target: PathAndQuery,
    pub headers: HeaderMap,
    pub body: Upload,
    /// From the end of the request to the head of the answer.
    pub patience: Duration,
}

/// What became of a request on one connection.
#[expect(
    clippy::large_enum_variant,
    reason = "an answer is the rule, and is handed on once"
)]
enum Outcome {
    Answered(Response<Download>),
    /// It was not sent; here it is again.
    Unsent(Box<Request<Upload>>),
    Failed(Trouble),
}

impl Server {
    pub fn new(settings: &Settings) -> Self {
        let url = &settings.url;
        let authority = url.host_str().map(|host| match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        });
        let authority = authority.and_then(|text| {
            let value = HeaderValue::from_str(&text).ok()?;
            Some((Authority::try_from(text).ok()?, value))
        });
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            authority,
            dialer: Dialer::new(url, settings.extra_roots.as_ref()),
        }
    }

    /// The answer, whatever its status, as soon as its head is there. Must be called on a worker:
    /// connections are its own.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Response<Download>, Trouble> {
        let patience = outgoing.patience;
        let mut request = Box::new(self.request(outgoing)?);
        let pool = pool::of(self.number);
        loop {
            let outcome = if let Some(single) = pool.take() {
                exchange(single, &pool, request, patience).await
            } else if let Some(multiplexed) = pool.multiplexed() {
                self.exchange_multiplexed(multiplexed, request, patience)
                    .await
            } else {
                // Boxed: it is large, and rare.
                return Box::pin(self.send_anew(&pool, request, patience)).await;
            };
            match outcome {
                Outcome::Answered(response) => return checked(response),
                Outcome::Unsent(back) => request = back,
                Outcome::Failed(trouble) => return Err(trouble),
            }
        }
    }

    /// Over a connection of its own; if that does not take the request, none will.
    async fn send_anew(
        &self,
        pool: &std::rc::Rc<Pool>,
        request: Box<Request<Upload>>,
        patience: Duration,
    ) -> Result<Response<Download>, Trouble> {
        let dialer = self.dialer.as_ref();
        let dialer = dialer.map_err(|&what| Trouble::Unreachable(what.to_owned()))?;
        let outcome = match dialer.open().await? {
            Opened::Http1(single) => exchange(single, pool, request, patience).await,
            Opened::Http2(multiplexed) => {
                pool.add(multiplexed.clone());
                self.exchange_multiplexed(multiplexed, request, patience)
                    .await
            }
        };
        match outcome {
            Outcome::Answered(response) => checked(response),
            Outcome::Unsent(_) => Err(Trouble::Unreachable("a new connection closed".into())),
            Outcome::Failed(trouble) => Err(trouble),
        }
    }

    /// As HTTP/1.1 has it: the target without an origin, and `Host`.
    fn request(&self, outgoing: Outgoing) -> Result<Request<Upload>, Trouble> {
        let Some((_, host)) = &self.authority else {
            return Err(Trouble::Unreachable("its URL names no host".into()));
        };
        let mut request = Request::new(outgoing.body);
        *request.method_mut() = outgoing.method;
        *request.uri_mut() = Uri::from(outgoing.target);
        *request.headers_mut() = outgoing.headers;
        request.headers_mut().insert(HOST, host.clone());
        Ok(request)
    }

    async fn exchange_multiplexed(
        &self,
        mut multiplexed: Multiplexed,
        mut request: Box<Request<Upload>>,
        patience: Duration,
    ) -> Outcome {
        // RFC 9113 §8.3.1: the origin stands in the target, and not in Host.
        request.headers_mut().remove(HOST);
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = self
            .authority
            .as_ref()
            .map(|(authority, _)| authority.clone());
        if let Ok(target) = Uri::from_parts(parts) {
            *request.uri_mut() = target;
        }
        let open = multiplexed.enter();
        let progress = request.body().progress();
        let response = multiplexed.sender.try_send_request(*request);
        match within(patience, progress.as_deref(), response).await {
            Ok(Ok(response)) => {
                let carrier = Carrier::Multiplexed { _open: open };
                Outcome::Answered(response.map(|body| Download::new(body, carrier)))
            }
            Ok(Err(error)) => self.unsent_or_failed(error, progress.as_deref()),
            Err(trouble) => Outcome::Failed(trouble),
        }
    }

    /// A request that comes back goes out again as [`Self::request`] made it.
    fn unsent_or_failed(
        &self,
        error: TrySendError<Request<Upload>>,
        progress: Option<&Progress>,
    ) -> Outcome {
        match (failure(error, progress), &self.authority) {
            (Outcome::Unsent(mut request), Some((_, host))) => {
                let target = request.uri().path_and_query().cloned();
                *request.uri_mut() = target.map_or_else(Uri::default, Uri::from);
                request.headers_mut().insert(HOST, host.clone());
                Outcome::Unsent(request)
            }
            (outcome, _) => outcome,
        }
    }
}

/// On an HTTP/1 connection, which is closed unless the answer ends as it should.
async fn exchange(
    single: Single,
    pool: &std::rc::Rc<Pool>,
    mut request: Box<Request<Upload>>,
    patience: Duration,
) -> Outcome {
    let mut lease = Lease::new(single, std::rc::Rc::clone(pool), IDLE);
    let Some(single) = lease.single() else {
        return Outcome::Unsent(request);
    };
    request.body_mut().attach(&single.watch);
    let progress = request.body().progress();
    match answer(single, *request, progress.as_deref(), patience).await {
        Ok(Ok(response)) => {
            lease.idle = idle_time(response.headers());
            let carrier = Carrier::Single(lease);
            Outcome::Answered(response.map(|body| Download::new(body, carrier)))
        }
        Ok(Err(error)) => failure(error, progress.as_deref()),
        Err(trouble) => Outcome::Failed(trouble),
    }
}

/// The head of the answer. What it waits for is done here, by whoever waits. A body on its way may
/// take its time, as long as it moves.
async fn answer(
    single: &mut Single,
    request: Request<Upload>,
    progress: Option<&Progress>,
    patience: Duration,
) -> Result<Result<Response<Incoming>, TrySendError<Request<Upload>>>, Trouble> {
    let is_uploading = || progress.is_some_and(|progress| !progress.is_finished());
    single.allow(if is_uploading() { LOOK } else { patience });
    let mut seen = 0;
    let mut was_uploading = is_uploading();
    let mut response = pin!(single.sender.try_send_request(request));
    poll_fn(|context| {
        single.drive(context);
        let mut nobody = Context::from_waker(Waker::noop());
        if let Poll::Ready(response) = response.as_mut().poll(&mut nobody) {
            return Poll::Ready(Ok(response));
        }
        if was_uploading && !is_uploading() {
            was_uploading = false;
            single.allow(patience);
        }
        while single.is_overdue(context) {
            let Some(progress) = progress.filter(|_| was_uploading) else {
                return Poll::Ready(Err(Trouble::Slow(patience)));
            };
            let moved = progress.passed() - seen;
            if let Some(trouble) = progress.dawdles(moved, LOOK) {
                return Poll::Ready(Err(trouble));
            }
            // A server that takes no more may still answer.
            seen += moved;
            was_uploading = moved > 0;
            single.allow(if was_uploading { LOOK } else { patience });
        }
        Poll::Pending
    })
    .await
}

fn failure(mut error: TrySendError<Request<Upload>>, progress: Option<&Progress>) -> Outcome {
    if let Some(request) = error.take_message() {
        return Outcome::Unsent(Box::new(request));
    }
    let fault = progress.and_then(Progress::fault);
    Outcome::Failed(fault.unwrap_or_else(|| Trouble::Broken(chain(error.error()))))
}

/// Nothing here may change the protocol.
fn checked(response: Response<Download>) -> Result<Response<Download>, Trouble> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Trouble::Broken("it wants to change the protocol".into()));
    }
    Ok(response)
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

/// How long the connection may rest: less than the server says (`Keep-Alive: timeout=5`), so that it
/// does not close just when a request is on its way.
fn idle_time(headers: &HeaderMap) -> Duration {
    let Some(value) = headers
        .get("keep-alive")
        .and_then(|value| value.to_str().ok())
    else {
        return IDLE;
    };
    let mut parameters = value
        .split(',')
        .filter_map(|part| part.trim().split_once('='));
    let seconds = parameters
        .find(|(name, _)| name.eq_ignore_ascii_case("timeout"))
        .and_then(|(_, seconds)| seconds.trim().parse::<u64>().ok());
    seconds.map_or(IDLE, |seconds| {
        Duration::from_secs(seconds.saturating_sub(1)).min(IDLE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_rests_for_less_than_the_server_allows() {
        let idle = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            idle_time(&HeaderMap::from_iter([(
                "keep-alive".parse().unwrap(),
                value,
            )]))
        };
        assert_eq!(idle("timeout=5"), Duration::from_secs(4));
        assert_eq!(idle("max=100, Timeout=5"), Duration::from_secs(4));
        assert_eq!(idle("timeout=0"), Duration::ZERO);
        assert_eq!(idle("timeout=300"), IDLE);
        assert_eq!(idle("timeout=x"), IDLE);
        assert_eq!(idle_time(&HeaderMap::new()), IDLE);
    }
}
