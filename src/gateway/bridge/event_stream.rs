//! One stream of server-sent events: what is still to be sent, and, for a client whose connection
//! broke, the last of what was sent already (2025-11-25, Resumability and Redelivery).
//!
//! A stream outlives its connections. The child's reader pushes and never waits: past the bounds
//! the oldest events are given up.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep};

use super::super::awaited::Awaited;
use super::super::places::Place;
use crate::crypto::random;
use crate::grant::GrantId;
use crate::mcp::sse;

/// Unsent events: the newest always stays, older ones only within these bounds.
const BACKLOG_EVENTS: usize = 4096;
const BACKLOG_BYTES: usize = 4 << 20;
/// Sent events that are kept for a reconnect.
const REPLAY_EVENTS: u64 = 64;
const REPLAY_BYTES: usize = 64 << 10;

/// A comment goes out after this much silence; proxies and clients cut quieter streams.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How long a client waits before it reconnects.
const RETRY_MILLIS: u64 = 1000;

/// A stream of one session. Its number is unique within the session.
pub(super) struct EventStream {
    number: u64,
    /// Whether events have ids, by which a client that reconnects says what it has.
    resumable: bool,
    inner: Awaited<Inner>,
}

#[derive(Default)]
struct Inner {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// Sequence number of `events[0]`.
    first: u64,
    /// Sequence number of the next event for the connection.
    cursor: u64,
    /// Requests whose answers are to come on this stream.
    awaited: usize,
    /// Whether it goes on when no answer is awaited.
    lasting: bool,
    finished: bool,
    /// Events before this number belong to requests that were accepted.
    owed: u64,
    /// From then on only what is owed is sent.
    silent_from: Option<Instant>,
    /// Counts connections: only the newest may send.
    connection: u64,
    connected: Option<GrantId>,
    disconnected_at: Option<Instant>,
}

impl EventStream {
    /// The listening stream of a session: finished only when the session is.
    pub(super) fn listening() -> Arc<Self> {
        let lasting = Inner {
            lasting: true,
            ..Inner::default()
        };
        Self::new(0, true, lasting)
    }

    /// The stream that carries the answers to `awaited` requests, and is finished with the last.
    pub(super) fn answering(number: u64, awaited: usize) -> Arc<Self> {
        let inner = Inner {
            awaited,
            ..Inner::default()
        };
        Self::new(number, true, inner)
    }

    /// The only stream of an HTTP+SSE session: it carries everything, and cannot be resumed.
    pub(super) fn only() -> Arc<Self> {
        let lasting = Inner {
            lasting: true,
            ..Inner::default()
        };
        Self::new(0, false, lasting)
    }

    fn new(number: u64, resumable: bool, inner: Inner) -> Arc<Self> {
        Arc::new(Self {
            number,
            resumable,
            inner: Awaited::new(inner),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// An event that is no message.
    pub(super) fn announce(&self, event: Bytes) {
        self.inner.update(|inner| inner.append(event));
    }

    /// A message for the client that belongs to none of its requests.
    pub(super) fn push(&self, message: &[u8]) {
        let name = self.name();
        self.inner.update(|inner| inner.push(name, message));
    }

    /// A message that belongs to a request of the client's.
    pub(super) fn accompany(&self, message: &[u8]) {
        let name = self.name();
        self.inner.update(|inner| inner.push_owed(name, message));
    }

    /// The answer to one of the awaited requests.
    pub(super) fn push_answer(&self, message: &[u8]) {
        let name = self.name();
        self.inner.update(|inner| {
            inner.push_owed(name, message);
            inner.settle_one();
        });
    }

    /// The answer to one more request is to come.
    pub(super) fn await_one(&self) {
        self.inner.look(|inner| inner.awaited += 1);
    }

    /// One of the awaited requests will have no answer.
    pub(super) fn give_up_one(&self) {
        self.inner.update(Inner::settle_one);
    }

    /// Nothing follows.
    pub(super) fn finish(&self) {
        self.inner.update(|inner| inner.finished = true);
    }

    /// Nothing follows but the awaited answers.
    pub(super) fn conclude(&self) {
        self.inner.update(|inner| {
            inner.lasting = false;
            inner.finished |= inner.awaited == 0;
        });
    }

    /// A token of the grant that opened the connection was shown, and is good `until` then. What
    /// belongs to no request waits from there on, for the next one.
    pub(super) fn prolong(&self, grant: &GrantId, until: Instant) {
        self.inner.update(|inner| {
            if inner.connected.as_ref() == Some(grant) {
                inner.silent_from = inner.silent_from.max(Some(until));
            }
        });
    }

    /// Cuts the present connection, if there is one; the stream itself goes on.
    pub(super) fn disconnect(&self) {
        self.inner.update(Inner::disconnect);
    }

    /// [`Self::disconnect`], if `grant` opened the connection. Whether it did.
    pub(super) fn disconnect_grant(&self, grant: &GrantId) -> bool {
        self.inner.update(|inner| {
            let is_its = inner.connected.as_ref() == Some(grant);
            if is_its {
                inner.disconnect();
            }
            is_its
        })
    }

    /// Whether what belongs to no request would be sent at once.
    pub(super) fn is_heard(&self) -> bool {
        self.inner
            .look(|inner| inner.connected.is_some() && !inner.is_silent())
    }

    /// Since when it would not be; `None` if nobody ever connected.
    pub(super) fn unheard_for(&self) -> Option<Duration> {
        let since = self.inner.look(|inner| match inner.connected {
            Some(_) => Some(inner.silent_from.unwrap_or_else(Instant::now)),
            None => inner.disconnected_at,
        })?;
        Some(Instant::now().saturating_duration_since(since))
    }

    /// For how long a finished stream has been without a connection; `None` while it lives.
    pub(super) fn left_for(&self) -> Option<Duration> {
        self.inner.look(|inner| {
            let gone = inner.finished && inner.connected.is_none();
            let left_at = inner.disconnected_at;
            gone.then(|| left_at.map_or(Duration::ZERO, |at| at.elapsed()))
        })
    }

    /// Bytes held in memory.
    pub(super) fn held_bytes(&self) -> usize {
        self.inner.look(|inner| inner.bytes)
    }

    /// What the ids of its events begin with, if they have any.
    fn name(&self) -> Option<u64> {
        self.resumable.then_some(self.number)
    }

    /// The body of a connection to this stream, which ends an earlier one. `resume_after`: the
    /// sequence number of the last event that the client has. `None` if that never was sent.
    pub(super) fn connect(self: &Arc<Self>, connection: Connection) -> Option<Events> {
        let number = self.inner.update(|inner| {
            inner.resume_after(connection.resume_after)?;
            if connection.priming {
                inner.prime(self.number);
            }
            inner.disconnect();
            inner.connected = Some(connection.grant);
            Some(inner.connection)
        })?;
        Some(Events {
            stream: Arc::clone(self),
            connection: number,
            _place: connection.place,
            expires: connection.expires,
            timer: Box::pin(tokio::time::sleep_until(first_wake(connection.expires))),
        })
    }
}

impl Inner {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// `None` if an event of this number never was.
    fn resume_after(&mut self, last: Option<u64>) -> Option<()> {
        let Some(last) = last else {
            return Some(());
        };
        if last >= self.end() {
            return None;
        }
        self.cursor = (last + 1).max(self.first);
        Some(())
    }

    fn is_silent(&self) -> bool {
        self.silent_from.is_some_and(|from| from <= Instant::now())
    }

    fn push_owed(&mut self, stream: Option<u64>, message: &[u8]) {
        self.push(stream, message);
        self.owed = self.end();
    }

    fn push(&mut self, stream: Option<u64>, message: &[u8]) {
        let id = stream.map(|stream| event_id(stream, self.end()));
        self.append(sse::event(id.as_deref(), message));
        while self.events.len() > 1
            && (self.unsent() > BACKLOG_EVENTS || self.bytes > BACKLOG_BYTES + REPLAY_BYTES)
        {
            self.drop_oldest();
        }
    }

    /// An event with an id and no data, so that the client can resume before the first message. Not
    /// needed where events wait: they have ids.
    fn prime(&mut self, stream: u64) {
        if self.cursor == self.end() {
            let id = event_id(stream, self.end());
            self.append(sse::priming(&id, Some(RETRY_MILLIS)));
        }
    }

    fn append(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push_back(event);
    }

    fn unsent(&self) -> usize {
        usize::try_from(self.end() - self.cursor.max(self.first)).unwrap_or(usize::MAX)
    }

    fn settle_one(&mut self) {
        self.awaited = self.awaited.saturating_sub(1);
        self.finished |= self.awaited == 0 && !self.lasting;
    }

    fn disconnect(&mut self) {
        self.connection += 1;
        self.connected = None;
        self.disconnected_at = Some(Instant::now());
    }

    /// What a connection gets next; nothing once it was replaced, or all was said.
    fn poll_next(&mut self, connection: u64) -> Poll<Option<Bytes>> {
        if self.connection != connection {
            return Poll::Ready(None);
        }
        let held = self.cursor >= self.owed && self.is_silent();
        match (!held).then(|| self.next()).flatten() {
            None if !self.finished => Poll::Pending,
            event => Poll::Ready(event),
        }
    }

    /// The oldest event that was not sent.
    fn next(&mut self) -> Option<Bytes> {
        self.cursor = self.cursor.max(self.first);
        let index = usize::try_from(self.cursor - self.first).ok()?;
        let event = self.events.get(index)?.clone();
        self.cursor += 1;
        while self.cursor - self.first > REPLAY_EVENTS
            || (self.bytes > REPLAY_BYTES && self.cursor - self.first > 1)
        {
            self.drop_oldest();
        }
        Some(event)
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.len();
            self.first += 1;
        }
    }
}

/// What opens a connection to a stream.
pub(super) struct Connection {
    pub(super) grant: GrantId,
    /// When the access token expires: a listening stream ends then, and the client comes back with a
    /// fresh one. `None` for the answer to a POST, which may finish.
    pub(super) expires: Option<Instant>,
    pub(super) resume_after: Option<u64>,
    pub(super) priming: bool,
    pub(super) place: Option<Place>,
}

/// The body of a reply: the events of a stream, as they come.
pub(super) struct Events {
    stream: Arc<EventStream>,
    connection: u64,
    _place: Option<Place>,
    expires: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let connection = this.connection;
        let next = |inner: &mut Inner| inner.poll_next(connection);
        if let Poll::Ready(event) = this.stream.inner.poll(context, next) {
            return Poll::Ready(event.map(|event| Ok(Frame::data(event))));
        }
        if this.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        if this.expires.is_some_and(|expires| expires <= now) {
            return Poll::Ready(None);
        }
        let next = now + KEEP_ALIVE_EVERY;
        let next = this.expires.map_or(next, |expires| next.min(expires));
        this.timer.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(sse::KEEP_ALIVE)))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stream.inner.look(|inner| {
            if inner.connection == self.connection {
                inner.disconnect();
            }
        });
    }
}

/// The id of an event names its stream, so that a reconnect finds it again.
fn event_id(stream: u64, sequence: u64) -> String {
    format!("{stream:x}-{sequence:x}")
}

/// Stream number and sequence number of an id that [`event_id`] made.
pub(super) fn parse_event_id(id: &str) -> Option<(u64, u64)> {
    let (stream, sequence) = id.split_once('-')?;
    Some((
        u64::from_str_radix(stream, 16).ok()?,
        u64::from_str_radix(sequence, 16).ok()?,
    ))
}

/// Spread over the interval, so that ten thousand streams that were opened together do not all
/// wake up together ever after.
fn first_wake(expires: Option<Instant>) -> Instant {
    let [spread] = random::bytes::<1>();
    let first = Instant::now() + KEEP_ALIVE_EVERY.mul_f32(0.5 + f32::from(spread) / 512.0);
    expires.map_or(first, |expires| first.min(expires))
}

#[cfg(test)]
mod tests;
