//! One connection, from its first byte to its last: HTTP/1.1, the deadlines of threat case A-116,
//! and an end that the client gets to read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep};

use super::activity::{Activity, Observed, Phase, Stream, Watched};
use super::{Drain, Service};
use crate::http::{Reply, full};

/// Largest head, and most of a body that is read ahead, in bytes. Buffers start at 8 KiB.
const MAX_BUFFER: usize = 64 * 1024;

/// What is read and thrown away after the last reply, in bytes.
const LINGER_LIMIT: usize = 1 << 20;

/// How long a connection may take over what.
#[derive(Clone, Copy)]
pub(super) struct Timeouts {
    /// Until the first byte, and from there to the end of the head.
    pub(super) head: Duration,
    /// Between requests. Longer than the 60 s that proxies keep a connection to reuse, or they
    /// would send requests into one that is just being closed.
    pub(super) idle: Duration,
    /// Without a byte of the reply going out.
    pub(super) stall: Duration,
    /// For the client to read the last reply before the connection is gone.
    pub(super) linger: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_mins(1),
            linger: Duration::from_secs(2),
        }
    }
}

/// What the connections of one worker have in common. They share it by [`Rc`]: a count that is the
/// worker's own costs less per request than one that all workers pull at.
pub(super) struct Server<S> {
    pub(super) service: Arc<S>,
    pub(super) drain: Drain,
    pub(super) timeouts: Timeouts,
}

/// Serves a connection until it ends, times out, or the drain cuts it off.
pub(super) async fn serve<S: Service>(stream: Stream, peer: IpAddr, server: Rc<Server<S>>) {
    let timeouts = server.timeouts;
    let mut news = News::new(server.drain.clone());
    let activity = Activity::new();
    let io = TokioIo::new(Observed::new(stream, Rc::clone(&activity)));
    let watched = Rc::clone(&activity);
    let handler = service_fn(move |request| {
        let exchange = exchange(Rc::clone(&server), request, peer, Rc::clone(&watched));
        // Boxed, as hyper keeps room for it in every connection, idle ones too.
        Box::pin(exchange)
    });
    let mut connection = builder().serve_connection(io, handler);
    let timer = pin!(tokio::time::sleep(timeouts.head));
    let mut watchdog = Watchdog::new(activity, timeouts, timer);

    let closed = poll_fn(|context| {
        match news.poll(context) {
            Tidings::None => {}
            Tidings::Drain => Pin::new(&mut connection).graceful_shutdown(),
            Tidings::Abort => return Poll::Ready(false),
        }
        // Errors here are the client's: a malformed head has had its 400, a reset needs none.
        if connection.poll_without_shutdown(context).is_ready() {
            return Poll::Ready(true);
        }
        watchdog.poll(context).map(|()| false)
    });
    if closed.await {
        let io = connection.into_parts().io.into_inner();
        let _ = tokio::time::timeout(timeouts.linger, linger(io)).await;
    }
}

/// A head has at most 100 fields, which is hyper's default; to name a number makes it allocate them.
/// No timers of hyper's: the watchdog sees more. No `pipeline_flush` either: it holds an event
/// stream back for as long as there are bytes behind its request.
fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_buf_size(MAX_BUFFER);
    builder
}

/// Closing a socket with unread bytes resets it, and the client loses the reply: the 401 to a large
/// POST, or the 413. So: say that this is the end, and read on for a moment.
async fn linger(mut io: Observed) -> std::io::Result<()> {
    io.shutdown().await?;
    // On the heap: every connection's task would carry it otherwise.
    let mut scrap = vec![0; 16 * 1024];
    let mut left = LINGER_LIMIT;
    loop {
        let read = io.read(&mut scrap).await?;
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return Ok(());
        }
    }
}

async fn exchange<S: Service>(
    server: Rc<Server<S>>,
    request: Request<Incoming>,
    peer: IpAddr,
    activity: Rc<Activity>,
) -> Result<Response<Watched>, Infallible> {
    activity.enter(Phase::Exchange);
    let call = pin!(server.service.call(request, peer));
    let reply = isolated(call).await;
    Ok(reply.map(|body| Watched::new(body, activity)))
}

/// A panic costs its own request and connection, no more.
async fn isolated(mut call: Pin<&mut impl Future<Output = Reply>>) -> Reply {
    poll_fn(|context| {
        // Whatever state it leaves behind goes with the future, which is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(failure()))
    })
    .await
}

fn failure() -> Reply {
    tracing::error!("a request was given up: its handler panicked");
    let mut reply = Reply::new(full("internal error\n"));
    *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}

enum Tidings {
    None,
    Drain,
    Abort,
}

/// The drain as one connection hears of it. Asking costs one atomic load: the future beneath is
/// polled only to leave a waker with it.
struct News {
    drain: Drain,
    next: Pin<Box<dyn Future<Output = ()>>>,
    waker: Option<Waker>,
    told: bool,
}

impl News {
    fn new(drain: Drain) -> Self {
        Self {
            next: Box::pin(drain.ended()),
            drain,
            waker: None,
            told: false,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Tidings {
        if self.drain.is_aborted() {
            return Tidings::Abort;
        }
        let begun = !self.told && self.drain.is_begun();
        if begun {
            self.told = true;
            self.next = Box::pin(self.drain.aborted());
            self.waker = None;
        }
        self.listen(context);
        if begun { Tidings::Drain } else { Tidings::None }
    }

    fn listen(&mut self, context: &mut Context<'_>) {
        let waker = context.waker();
        if self
            .waker
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            return;
        }
        self.waker = Some(waker.clone());
        if self.next.as_mut().poll(context).is_ready() {
            // It came between the look and the poll.
            context.waker().wake_by_ref();
        }
    }
}

/// Ends a connection that takes too long. Its timer is set ahead and looked at when it fires, so
/// that a request costs one reading of the clock and no timer.
struct Watchdog<'t> {
    activity: Rc<Activity>,
    timeouts: Timeouts,
    seen: u64,
    since: Instant,
    timer: Pin<&'t mut Sleep>,
}

impl<'t> Watchdog<'t> {
    fn new(activity: Rc<Activity>, timeouts: Timeouts, timer: Pin<&'t mut Sleep>) -> Self {
        Self {
            activity,
            timeouts,
            seen: 0,
            since: Instant::now(),
            timer,
        }
    }

    /// Ready when the time is up.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (phase, stalled, steps) = self.activity.look();
        if steps != self.seen {
            self.seen = steps;
            self.since = Instant::now();
        }
        let due = self
            .patience(phase, stalled)
            .map(|patience| self.since + patience);
        if let Some(due) = due
            && due < self.timer.deadline()
        {
            self.timer.as_mut().reset(due);
        }
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            match due {
                Some(due) if due <= now => return Poll::Ready(()),
                Some(due) => self.timer.as_mut().reset(due),
                None => self.timer.as_mut().reset(now + self.timeouts.idle),
            }
        }
    }

    /// How long the present state may last. A handler may take its time; it has its own limits.
    fn patience(&self, phase: Phase, stalled: bool) -> Option<Duration> {
        let patience = match phase {
            Phase::Silent | Phase::Head => Some(self.timeouts.head),
            Phase::Idle => Some(self.timeouts.idle),
            Phase::Exchange => None,
        };
        let stall = stalled.then_some(self.timeouts.stall);
        patience.into_iter().chain(stall).min()
    }
}
