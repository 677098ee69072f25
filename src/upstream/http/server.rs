//! One request to the wrapped server, and its answer: over a connection that rests, or a new one.
//!
//! A request that may have run is never sent a second time. Only one of which not a byte went out,
//! because its connection had just been closed, goes out on another.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Method, Response, StatusCode};

use super::Settings;
use super::dial::{Dialer, Opened};
use super::download::{Download, Lease};
use super::http1::{self, Fault};
use super::http2;
use super::pool::{self, IDLE, Pool, Single};
use super::trouble::Trouble;
use super::upload::{Progress, Upload};
use crate::http::headers::Constant;

/// How often the progress of a body is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// Numbers the servers of this process, so that each has its own pools.
static NEXT: AtomicU64 = AtomicU64::new(0);

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The wrapped server.
pub struct Server {
    number: u64,
    /// `host[:port]`, for `Host` and for HTTP/2's `:authority`.
    authority: Option<(Authority, HeaderValue)>,
    dialer: Result<Dialer, &'static str>,
}

/// A request, but for what every request to this server has.
pub struct Outgoing<'r> {
    pub method: &'r Method,
    pub target: &'r PathAndQuery,
    /// All but `Host`, what frames the body, and what is constant.
    pub fields: &'r [(&'r HeaderName, &'r HeaderValue)],
    pub constant: &'r Constant,
    pub body: Upload,
    /// From the end of the request to the head of the answer.
    pub patience: Duration,
}

/// What became of a request on one connection.
pub(super) enum Outcome {
    Answered(Response<Download>),
    /// It was not sent; here is its body again.
    Unsent(Upload),
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
    pub async fn send(&self, outgoing: Outgoing<'_>) -> Result<Response<Download>, Trouble> {
        let Some((authority, host)) = &self.authority else {
            return Err(Trouble::Unreachable("its URL names no host".into()));
        };
        let head = http1::Head {
            method: outgoing.method,
            target: outgoing.target,
            host,
            fields: outgoing.fields,
            constant: outgoing.constant,
        };
        let patience = outgoing.patience;
        let mut body = outgoing.body;
        let pool = pool::of(self.number);
        loop {
            let outcome = if let Some(single) = pool.take() {
                exchange(single, &pool, &head, body, patience).await
            } else if let Some(multiplexed) = pool.multiplexed() {
                let request = http2::request(&head, authority, body)?;
                Box::pin(http2::exchange(multiplexed, request, patience)).await
            } else {
                // Boxed: it is large, and rare.
                return Box::pin(self.send_anew(&pool, &head, authority, body, patience)).await;
            };
            match outcome {
                Outcome::Answered(response) => return checked(response),
                Outcome::Unsent(back) => body = back,
                Outcome::Failed(trouble) => return Err(trouble),
            }
        }
    }

    /// Over a connection of its own; if that does not take the request, none will.
    async fn send_anew(
        &self,
        pool: &Rc<Pool>,
        head: &http1::Head<'_>,
        authority: &Authority,
        body: Upload,
        patience: Duration,
    ) -> Result<Response<Download>, Trouble> {
        let dialer = self.dialer.as_ref();
        let dialer = dialer.map_err(|&what| Trouble::Unreachable(what.to_owned()))?;
        let outcome = match dialer.open().await? {
            Opened::Http1(single) => exchange(single, pool, head, body, patience).await,
            Opened::Http2(multiplexed) => {
                pool.add(multiplexed.clone());
                let request = http2::request(head, authority, body)?;
                http2::exchange(multiplexed, request, patience).await
            }
        };
        match outcome {
            Outcome::Answered(response) => checked(response),
            Outcome::Unsent(_) => Err(Trouble::Unreachable("a new connection closed".into())),
            Outcome::Failed(trouble) => Err(trouble),
        }
    }
}

/// On an HTTP/1 connection, which is closed unless the answer ends as it should.
async fn exchange(
    mut single: Box<Single>,
    pool: &Rc<Pool>,
    head: &http1::Head<'_>,
    body: Upload,
    patience: Duration,
) -> Outcome {
    let progress = body.progress();
    single.connection.begin(head, body);
    match answer(&mut single, progress.as_deref(), patience).await {
        Ok(Ok(response)) => {
            let lease = Lease {
                idle: idle_time(response.headers()),
                single,
                pool: Rc::clone(pool),
            };
            Outcome::Answered(response.map(|()| Download::over_http1(lease)))
        }
        Ok(Err(fault)) => failure(&mut single, &fault, progress.as_deref()),
        Err(trouble) => Outcome::Failed(trouble),
    }
}

/// The head of the answer. What it waits for is done here, by whoever waits. A body on its way may
/// take its time, as long as it moves.
async fn answer(
    single: &mut Single,
    progress: Option<&Progress>,
    patience: Duration,
) -> Result<Result<Response<()>, Fault>, Trouble> {
    let is_uploading = || progress.is_some_and(|progress| !progress.is_finished());
    single.allow(if is_uploading() { LOOK } else { patience });
    let mut seen = 0;
    let mut was_uploading = is_uploading();
    poll_fn(|context| {
        if let Poll::Ready(head) = single.connection.poll_head(context) {
            return Poll::Ready(Ok(head));
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

fn failure(single: &mut Single, fault: &Fault, progress: Option<&Progress>) -> Outcome {
    if let Fault::Unsent = fault
        && let Some(body) = single.connection.take_back()
    {
        return Outcome::Unsent(body);
    }
    let of_the_client = progress.and_then(Progress::fault);
    Outcome::Failed(of_the_client.unwrap_or_else(|| Trouble::Broken(fault.to_string())))
}

/// Nothing here may change the protocol.
fn checked(response: Response<Download>) -> Result<Response<Download>, Trouble> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Trouble::Broken("it wants to change the protocol".into()));
    }
    Ok(response)
}

/// How long the connection may rest: less than the server says (`Keep-Alive: timeout=5`), so that it
/// does not close just when a request is on its way.
fn idle_time(headers: &HeaderMap) -> Duration {
    let Some(value) = headers
        .get(&KEEP_ALIVE)
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
