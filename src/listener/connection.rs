//! One HTTP/1.1 connection, from its first byte to its last, with an end that the client gets to
//! read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::activity::{Activity, Observed, Watched};
use super::deadlines::{Timeouts, Watchdog};
use super::figures::Figures;
use super::news::{News, Tidings};
use super::stream::Stream;
use super::{Drain, Peer, Service};
use crate::http::{Reply, Wakeup, full};

/// Largest head, and most of a body that is read ahead, in bytes. Buffers start at 8 KiB.
const MAX_BUFFER: usize = 64 * 1024;

/// What is read and thrown away after the last reply, in bytes.
const LINGER_LIMIT: usize = 1 << 20;

/// What the connections of one worker have in common. They share it by [`Rc`]: a count that is the
/// worker's own costs less per request than one that all workers pull at.
pub(super) struct Server<S> {
    pub(super) service: Arc<S>,
    pub(super) drain: Drain,
    pub(super) timeouts: Timeouts,
    pub(super) figures: Arc<Figures>,
}

/// Serves an HTTP/1.1 connection until it ends, times out, or the drain cuts it off.
pub(super) async fn serve<S: Service>(stream: Stream, peer: Peer, server: Rc<Server<S>>) {
    let timeouts = server.timeouts;
    let mut news = News::new(server.drain.clone());
    let activity = Activity::new();
    let io = TokioIo::new(Observed::http1(stream, Rc::clone(&activity)));
    let watched = Rc::clone(&activity);
    let handler = service_fn(move |request| {
        let exchange = exchange(Rc::clone(&server), request, peer, Rc::clone(&watched));
        // Boxed, as hyper keeps room for it in every connection, idle ones too.
        Box::pin(exchange)
    });
    let mut connection = builder().serve_connection(io, handler);
    let timer = pin!(tokio::time::sleep(timeouts.head));
    let mut watchdog = Watchdog::new(activity, timeouts, timer);
    let mut wakeup = Wakeup::default();

    let closed = poll_fn(|context| {
        let context = &mut Context::from_waker(wakeup.of(context.waker()));
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

/// One request and its reply.
pub(super) async fn exchange<S: Service>(
    server: Rc<Server<S>>,
    request: Request<Incoming>,
    peer: Peer,
    activity: Rc<Activity>,
) -> Result<Response<Watched>, Infallible> {
    let exchange = activity.begin();
    // Boxed: an async function has room for what it moves more than once, and blocks of two
    // kilobytes cost malloc more than two of one.
    let begun = AssertUnwindSafe(|| Box::pin(server.service.call(request, peer)));
    let reply = match catch_unwind(begun) {
        Ok(call) => isolated(call, &server.figures).await,
        Err(_) => failure(&server.figures),
    };
    Ok(reply.map(|body| Watched::new(body, exchange)))
}

/// A panic costs its own request and connection, no more.
async fn isolated(mut call: Pin<Box<impl Future<Output = Reply>>>, figures: &Figures) -> Reply {
    poll_fn(|context| {
        // Whatever state it leaves behind goes with the future, which is not polled again.
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        polled.unwrap_or_else(|_| Poll::Ready(failure(figures)))
    })
    .await
}

fn failure(figures: &Figures) -> Reply {
    figures.panics.count();
    tracing::error!("a request was given up: its handler panicked");
    let mut reply = Reply::new(full("internal error\n"));
    *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let close = HeaderValue::from_static("close");
    reply.headers_mut().insert(CONNECTION, close);
    reply
}
