//! One request of a client, from its arrival to its answer.
//!
//! Nobody knows at first whether the answer will be the first thing that comes. So an exchange
//! starts out *waiting*; the handler of the POST waits with it for a moment, and then either takes
//! the answer as plain JSON or turns the exchange into a *streaming* one.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::super::awaited::Awaited;
use super::event_stream::EventStream;
use crate::mcp::{Message, RawId};
use crate::upstream::ExchangeId;

/// One request in flight.
pub(super) struct Exchange {
    id: ExchangeId,
    request: RawId,
    /// Whether only the answer counts: `initialize`, whose reply must carry the session id and a
    /// telling status, never becomes a stream.
    plain: bool,
    begun_at: Instant,
    inner: Awaited<Inner>,
}

struct Inner {
    state: State,
    last_sign: Instant,
    cancelled_at: Option<Instant>,
    is_overdue: bool,
}

enum State {
    /// Messages that came before the answer, and the answer.
    Waiting(Vec<Message>, Option<Message>),
    Streaming(Arc<EventStream>),
    /// The handler took the answer, or nobody will.
    Over,
}

/// What the handler of the POST found.
pub(super) enum First {
    /// The answer, and nothing before it.
    Answer(Message),
    /// Something else came first, nothing in time, or the request was given up: it takes a stream.
    Stream,
}

impl Exchange {
    pub(super) fn new(id: ExchangeId, request: RawId, plain: bool) -> Arc<Self> {
        Self::with_state(id, request, plain, State::Waiting(Vec::new(), None))
    }

    /// An exchange whose answer goes to a stream from the first: a batch's, or a session's only one.
    pub(super) fn streaming(id: ExchangeId, request: RawId, stream: Arc<EventStream>) -> Arc<Self> {
        Self::with_state(id, request, false, State::Streaming(stream))
    }

    fn with_state(id: ExchangeId, request: RawId, plain: bool, state: State) -> Arc<Self> {
        let begun_at = Instant::now();
        let inner = Inner {
            state,
            last_sign: begun_at,
            cancelled_at: None,
            is_overdue: false,
        };
        Arc::new(Self {
            id,
            request,
            plain,
            begun_at,
            inner: Awaited::new(inner),
        })
    }

    pub(super) fn id(&self) -> ExchangeId {
        self.id
    }

    /// When the request came.
    pub(super) fn begun_at(&self) -> Instant {
        self.begun_at
    }

    /// The client's id for this request.
    pub(super) fn request(&self) -> &RawId {
        &self.request
    }

    /// Whether messages other than the answer may travel with it.
    pub(super) fn takes_company(&self) -> bool {
        !self.plain
    }

    /// A message that belongs to this request and is not its answer.
    pub(super) fn accompany(&self, message: Message) {
        self.inner.update(|inner| {
            inner.last_sign = Instant::now();
            match &mut inner.state {
                State::Waiting(early, _) => early.push(message),
                State::Streaming(stream) => stream.accompany(message.bytes()),
                State::Over => {}
            }
        });
    }

    /// The answer. The exchange is over with it.
    pub(super) fn answer(&self, message: Message) {
        self.inner.update(|inner| match &mut inner.state {
            State::Waiting(_, answer) => *answer = Some(message),
            State::Streaming(stream) => stream.push_answer(message.bytes()),
            State::Over => {}
        });
    }

    /// There will be no answer.
    pub(super) fn abandon(&self) {
        self.inner.update(|inner| {
            if let State::Streaming(stream) = &inner.state {
                stream.give_up_one();
            }
            inner.state = State::Over;
        });
    }

    /// The client no longer wants the answer. A server may answer even so, or not.
    pub(super) fn cancelled(&self) {
        self.inner
            .look(|inner| inner.cancelled_at = Some(Instant::now()));
    }

    /// How long ago the client cancelled.
    pub(super) fn cancelled_for(&self) -> Option<Duration> {
        self.inner
            .look(|inner| inner.cancelled_at.map(|at| at.elapsed()))
    }

    /// How long ago the server gave the last sign of life for this request.
    pub(super) fn silent_for(&self) -> Duration {
        self.inner.look(|inner| inner.last_sign.elapsed())
    }

    /// Waits for the first thing to come, or until the exchange is overdue.
    pub(super) async fn first(&self) -> First {
        poll_fn(|context| self.inner.poll(context, Inner::poll_first)).await
    }

    /// It has waited long enough for a plain answer.
    pub(super) fn overdue(&self) {
        self.inner.update(|inner| inner.is_overdue = true);
    }

    /// From now on everything goes to `stream`, beginning with what came already.
    pub(super) fn stream_to(&self, stream: &Arc<EventStream>) {
        self.inner.look(|inner| inner.stream_to(stream));
    }
}

impl Inner {
    fn poll_first(&mut self) -> Poll<First> {
        let State::Waiting(early, answer) = &mut self.state else {
            return Poll::Ready(First::Stream);
        };
        if !early.is_empty() {
            return Poll::Ready(First::Stream);
        }
        match answer.take() {
            Some(answer) => Poll::Ready(First::Answer(answer)),
            None if self.is_overdue => Poll::Ready(First::Stream),
            None => Poll::Pending,
        }
    }

    fn stream_to(&mut self, stream: &Arc<EventStream>) {
        let streaming = State::Streaming(Arc::clone(stream));
        match std::mem::replace(&mut self.state, streaming) {
            State::Waiting(early, answer) => {
                for message in early {
                    stream.accompany(message.bytes());
                }
                if let Some(answer) = answer {
                    stream.push_answer(answer.bytes());
                }
            }
            State::Streaming(_) => {}
            State::Over => {
                stream.give_up_one();
                self.state = State::Over;
            }
        }
    }
}
