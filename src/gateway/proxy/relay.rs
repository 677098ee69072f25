//! The body of an answer that has no known end, on its way to the client: passed on as it comes,
//! kept alive where it is silent, ended when its token or grant ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::endpoint_events::EndpointEvents;
use super::streams::Open;
use crate::gateway::places::Place;
use crate::http::Cut;
use crate::mcp::sse;
use crate::upstream::http::Download;

/// A comment goes out after this much silence; proxies and clients cut quieter streams.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

pub(super) struct Relay {
    body: Download,
    open: Open,
    /// A listening stream's, while it is open.
    _place: Option<Place>,
    endpoint: Option<Box<EndpointEvents>>,
    /// When the token expires: a listening stream ends then, and its client comes back (A-103).
    expires: Option<Instant>,
    /// `None` unless these are events that a comment may stand between.
    silence: Option<Silence>,
    /// Whether the body may just end; otherwise an end before its end is a cut.
    may_end: bool,
    /// Made once there is something to wait for.
    timer: Option<Pin<Box<Sleep>>>,
}

struct Silence {
    since: Instant,
    /// Whether the last bytes ended an event.
    between_events: bool,
}

/// What is to be known of a stream beside its bytes.
pub(super) struct Kind {
    pub(super) is_events: bool,
    /// Encoded, as with gzip: nothing can be put in between.
    pub(super) is_encoded: bool,
    pub(super) endpoint: Option<EndpointEvents>,
    pub(super) expires: Option<Instant>,
    pub(super) place: Option<Place>,
}

impl Relay {
    pub(super) fn new(body: Download, open: Open, kind: Kind) -> Self {
        let silence = (kind.is_events && !kind.is_encoded).then(|| Silence {
            since: Instant::now(),
            between_events: true,
        });
        Self {
            body,
            open,
            _place: kind.place,
            endpoint: kind.endpoint.map(Box::new),
            expires: kind.expires,
            silence,
            may_end: kind.is_events && !kind.is_encoded,
            timer: None,
        }
    }

    /// Ends the stream before the server does.
    const fn end(&self) -> Option<Result<Frame<Bytes>, Cut>> {
        if self.may_end { None } else { Some(Err(Cut)) }
    }

    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    tracing::warn!(%error, "the wrapped server broke off a stream");
                    return Poll::Ready(Some(Err(Cut)));
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let Ok(data) = self.rewritten(data) else {
                tracing::error!("the wrapped server announced an endpoint that is not its own");
                return Poll::Ready(Some(Err(Cut)));
            };
            if data.is_empty() {
                continue;
            }
            if let Some(silence) = &mut self.silence {
                silence.broken_by(&data);
            }
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn rewritten(&mut self, data: Bytes) -> Result<Bytes, super::endpoint_events::Refused> {
        match &mut self.endpoint {
            Some(endpoint) => endpoint.push(data),
            None => Ok(data),
        }
    }

    /// What is due while the server says nothing: a comment, or the end.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let now = Instant::now();
            if self.expires.is_some_and(|expires| expires <= now) {
                return Poll::Ready(None);
            }
            let comment = self
                .silence
                .as_mut()
                .map(|silence| silence.comment_due(now));
            if comment.is_some_and(|due| due <= now) {
                return Poll::Ready(Some(Bytes::from_static(sse::KEEP_ALIVE)));
            }
            let Some(due) = comment.into_iter().chain(self.expires).min() else {
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            // A timer that fires too early is set again; to set it for every event would cost more.
            if timer.is_elapsed() || due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(context));
        }
    }
}

impl Silence {
    fn broken_by(&mut self, data: &[u8]) {
        self.since = Instant::now();
        self.between_events =
            data.ends_with(b"\n\n") || data.ends_with(b"\r\n\r\n") || data.ends_with(b"\r\r");
    }

    /// When a comment may go out. Asked when it may, the silence begins anew.
    fn comment_due(&mut self, now: Instant) -> Instant {
        let due = self.since + KEEP_ALIVE_EVERY;
        if due > now {
            return due;
        }
        self.since = now;
        if self.between_events {
            due
        } else {
            now + KEEP_ALIVE_EVERY
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.open.poll_ended(context).is_ready() {
            return Poll::Ready(self.end());
        }
        if let Poll::Ready(data) = self.poll_body(context) {
            return Poll::Ready(data.map(|data| data.map(Frame::data)));
        }
        match ready!(self.poll_timer(context)) {
            Some(comment) => Poll::Ready(Some(Ok(Frame::data(comment)))),
            None => Poll::Ready(self.end()),
        }
    }
}
