//! The drain, as one connection hears of it.

use std::pin::Pin;
use std::task::{Context, Waker};

use super::Drain;

/// What is new.
pub(super) enum Tidings {
    None,
    Drain,
    Abort,
}

/// Asking costs one atomic load: the future beneath is polled only to leave a waker with it.
pub(super) struct News {
    drain: Drain,
    next: Pin<Box<dyn Future<Output = ()>>>,
    waker: Option<Waker>,
    told: bool,
}

impl News {
    pub(super) fn new(drain: Drain) -> Self {
        Self {
            next: Box::pin(drain.ended()),
            drain,
            waker: None,
            told: false,
        }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Tidings {
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
