//! State that one task waits on while others change it: the child's reader, the sweep, a newer
//! connection.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Changes wake the task that polled last.
pub(super) struct Awaited<T>(Mutex<Inner<T>>);

struct Inner<T> {
    state: T,
    waker: Option<Waker>,
}

impl<T> Awaited<T> {
    pub(super) const fn new(state: T) -> Self {
        Self(Mutex::new(Inner { state, waker: None }))
    }

    /// Changes the state, and wakes who waits for that.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let (outcome, waker) = self.locked(|inner| (change(&mut inner.state), inner.waker.take()));
        if let Some(waker) = waker {
            waker.wake();
        }
        outcome
    }

    /// Looks at the state, or changes what nobody waits for.
    pub(super) fn look<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        self.locked(|inner| look(&mut inner.state))
    }

    /// Polls the state; if it is not ready, the next update wakes the task.
    pub(super) fn poll<R>(
        &self,
        context: &Context<'_>,
        poll: impl FnOnce(&mut T) -> Poll<R>,
    ) -> Poll<R> {
        self.locked(|inner| {
            let outcome = poll(&mut inner.state);
            if outcome.is_pending() {
                inner.waker = Some(context.waker().clone());
            }
            outcome
        })
    }

    fn locked<R>(&self, work: impl FnOnce(&mut Inner<T>) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
