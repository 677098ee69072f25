//! One HTTP/2 connection. What a client may make the guard do without asking for anything is bounded
//! (threat cases ): streams, heads, resets, frames; and time, as for HTTP/1.1.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::activity::{Activity, Observed};
use super::connection::{Server, exchange};
use super::deadlines::Watchdog;
use super::news::{News, Tidings};
use super::stream::Stream;
use super::{Peer, Service};

const MAX_STREAMS: u32 = 100;
/// All fields of a head together, as RFC 9113 §6.5.2 counts them: with 32 bytes for each.
const MAX_HEAD: u32 = 16 * 1024;
/// Streams that the client reset and that are not yet forgotten (rapid reset).
const MAX_RESETS: usize = 20;
/// Streams that had to be reset for the client's faults (`MadeYouReset`).
const MAX_FAULTS: usize = 128;
/// What of a reply waits for the client, in bytes.
const MAX_UNSENT: usize = 64 * 1024;
/// How often a silent client is asked whether it is still there, and how long it may take to say so.
const ASK_EVERY: Duration = Duration::from_secs(20);

/// Serves an HTTP/2 connection until it ends, times out, or the drain cuts it off.
pub(super) async fn serve<S: Service>(stream: Stream, peer: Peer, server: Rc<Server<S>>) {
    let timeouts = server.timeouts;
    let mut news = News::new(server.drain.clone());
    let activity = Activity::new();
    let io = TokioIo::new(Observed::http2(stream, Rc::clone(&activity)));
    let watched = Rc::clone(&activity);
    let handler =
        service_fn(move |request| exchange(Rc::clone(&server), request, peer, Rc::clone(&watched)));
    let mut connection = pin!(builder().serve_connection(io, handler));
    let timer = pin!(tokio::time::sleep(timeouts.head));
    let mut watchdog = Watchdog::new(activity, timeouts, timer);
    let mut age = pin!(tokio::time::sleep(timeouts.age));
    let mut is_old = false;
    let mut leaving = false;
    poll_fn(|context| {
        match news.poll(context) {
            Tidings::None => {}
            // GOAWAY: what is under way is finished, nothing new begins.
            Tidings::Drain => connection.as_mut().graceful_shutdown(),
            Tidings::Abort => return Poll::Ready(()),
        }
        // What one connection may pile up ends with it. GOAWAY loses no request: the client takes
        // those that were not begun to its next connection.
        if !is_old && age.as_mut().poll(context).is_ready() {
            is_old = true;
            connection.as_mut().graceful_shutdown();
        }
        // Errors here are the client's, and the library has told it.
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        // One more round to say goodbye, then the connection is dropped.
        if watchdog.poll(context).is_ready() {
            if std::mem::replace(&mut leaving, true) {
                return Poll::Ready(());
            }
            connection.as_mut().graceful_shutdown();
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

fn builder() -> http2::Builder<OnThisWorker> {
    let mut builder = http2::Builder::new(OnThisWorker);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_FAULTS)
        .max_send_buf_size(MAX_UNSENT)
        .keep_alive_interval(ASK_EVERY)
        .keep_alive_timeout(ASK_EVERY);
    builder
}

/// Streams are served where their connection is.
#[derive(Clone, Copy)]
struct OnThisWorker;

impl<F: Future<Output = ()> + 'static> Executor<F> for OnThisWorker {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
