//! The body of a request on its way to the wrapped server: whole, or passed on as it comes, bounded
//! either way.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::trouble::Trouble;
use crate::http::Cut;

/// A request's body.
pub struct Upload(Content);

enum Content {
    Whole(Option<Bytes>),
    /// Boxed: rare beside the small bodies of messages.
    Passing(Box<Passing>),
}

struct Passing {
    body: Incoming,
    limit: usize,
    progress: Rc<Progress>,
}

/// How far a body that is passed on has come.
pub(super) struct Progress {
    limit: usize,
    state: Cell<State>,
    passed: Cell<usize>,
}

/// A client that is waited for sends at least so many bytes a second.
const LEAST: u64 = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The wrapped server is to take more.
    Passing,
    /// The client is to send more.
    Awaiting,
    TooLarge,
    Broken,
    Finished,
}

impl Upload {
    pub fn whole(bytes: Bytes) -> Self {
        Self(Content::Whole(
            Some(bytes).filter(|bytes| !bytes.is_empty()),
        ))
    }

    /// A body that is passed on as it comes, and breaks off past `limit` bytes.
    pub fn passing(body: Incoming, limit: usize) -> Self {
        let progress = Rc::new(Progress {
            limit,
            state: Cell::new(State::Passing),
            passed: Cell::new(0),
        });
        Self(Content::Passing(Box::new(Passing {
            body,
            limit,
            progress,
        })))
    }

    /// All of it, unless it is passed on as it comes.
    pub(super) fn whole_bytes(&self) -> Option<Bytes> {
        match &self.0 {
            Content::Whole(bytes) => Some(bytes.clone().unwrap_or_default()),
            Content::Passing(_) => None,
        }
    }

    /// `None` for a body that is whole: nobody waits for the client there.
    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        match &self.0 {
            Content::Whole(_) => None,
            Content::Passing(passing) => Some(Rc::clone(&passing.progress)),
        }
    }
}

impl Progress {
    /// How many bytes have passed.
    pub(super) fn passed(&self) -> usize {
        self.passed.get()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.get() == State::Finished
    }

    /// Whether it is the client's fault that no more than `moved` bytes passed in this `time`.
    pub(super) fn dawdles(&self, moved: usize, time: Duration) -> Option<Trouble> {
        let is_little = (moved as u64) < LEAST * time.as_secs();
        (is_little && self.state.get() == State::Awaiting).then_some(Trouble::ClientSlow)
    }

    /// Why the body could not be sent, if that was the client's fault.
    pub(super) fn fault(&self) -> Option<Trouble> {
        match self.state.get() {
            State::TooLarge => Some(Trouble::TooLarge { limit: self.limit }),
            State::Broken => Some(Trouble::ClientBroken),
            State::Passing | State::Awaiting | State::Finished => None,
        }
    }

    fn enter(&self, state: State) {
        self.state.set(state);
    }
}

impl Passing {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        loop {
            let frame = match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.progress.state.set(State::Awaiting);
                    return Poll::Pending;
                }
            };
            let Some(frame) = frame else {
                self.progress.enter(State::Finished);
                return Poll::Ready(None);
            };
            let Ok(frame) = frame else {
                return self.fail(State::Broken);
            };
            // Trailers go no further.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let passed = self.progress.passed().saturating_add(data.len());
            self.progress.passed.set(passed);
            if passed > self.limit {
                return self.fail(State::TooLarge);
            }
            let finished = self.body.is_end_stream();
            self.progress.enter(if finished {
                State::Finished
            } else {
                State::Passing
            });
            return Poll::Ready(Some(Ok(data)));
        }
    }

    fn fail(&self, state: State) -> Poll<Option<Result<Bytes, Cut>>> {
        self.progress.enter(state);
        Poll::Ready(Some(Err(Cut)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let data = match &mut self.0 {
            Content::Whole(bytes) => bytes.take().map(Ok),
            Content::Passing(passing) => ready!(passing.poll(context)),
        };
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Passing(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Content::Passing(passing) => passing.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a116_a_client_that_is_waited_for_keeps_a_rate_and_a_slow_server_is_not_its_fault() {
        let dawdles = |state, moved| {
            let progress = Progress {
                limit: 1 << 20,
                state: Cell::new(state),
                passed: Cell::new(0),
            };
            progress.dawdles(moved, Duration::from_secs(30)).is_some()
        };
        assert!(dawdles(State::Awaiting, 0));
        assert!(dawdles(State::Awaiting, 30 * 1024 - 1));
        assert!(!dawdles(State::Awaiting, 30 * 1024));
        assert!(!dawdles(State::Passing, 0));
        assert!(!dawdles(State::Finished, 0));
    }
}
