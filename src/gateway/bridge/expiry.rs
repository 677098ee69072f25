//! What a session gives up with time: requests that nobody answers, questions that nobody hears,
//! answers that nobody fetches.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::Exchange;
use super::session::{NO_STREAM, Session, fail, lock};

/// How long a request of the server's waits for a stream to the client.
const QUESTION_PATIENCE: Duration = Duration::from_secs(30);

/// How long the server may still answer a request that its client has cancelled.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);

/// How long, and how much of, a finished answer waits for a client that lost its connection.
const RESUME_PATIENCE: Duration = Duration::from_mins(5);
const RESUME_BYTES: usize = 8 << 20;

impl Session {
    /// Gives up what has waited too long. How many requests the server left unanswered.
    pub(super) fn expire(&self, request_timeout: Duration) -> u64 {
        let mut unanswered = 0;
        for exchange in self.overdue(request_timeout) {
            unanswered += u64::from(exchange.cancelled_for().is_none());
            self.give_up(&exchange);
        }
        self.refuse_unheard();
        self.forget_finished();
        unanswered
    }

    fn overdue(&self, request_timeout: Duration) -> Vec<Arc<Exchange>> {
        let is_overdue = |exchange: &&Arc<Exchange>| {
            exchange.silent_for() > request_timeout
                || exchange
                    .cancelled_for()
                    .is_some_and(|ago| ago > CANCEL_PATIENCE)
        };
        lock(&self.exchanges)
            .values()
            .filter(is_overdue)
            .cloned()
            .collect()
    }

    /// Tells the child that nobody waits any more, and the client, unless it was the one to cancel,
    /// that nothing will come.
    pub(super) fn give_up(&self, exchange: &Exchange) {
        if lock(&self.exchanges).remove(&exchange.id()).is_none() {
            return;
        }
        if let Some(child) = self.child.load_full() {
            child.cancel(exchange.id(), "the request timed out");
        }
        if exchange.cancelled_for().is_some() {
            exchange.abandon();
        } else {
            fail(exchange, "the server did not answer in time");
        }
    }

    fn refuse_unheard(&self) {
        if self.listening.is_heard() {
            lock(&self.unheard).clear();
            return;
        }
        let Some(child) = self.child.load_full() else {
            return;
        };
        lock(&self.unheard).retain(|(id, since)| {
            let waits = since.elapsed() < QUESTION_PATIENCE;
            if !waits {
                child.refuse(id, NO_STREAM);
            }
            waits
        });
    }

    /// Streams whose client got everything, did not come back in time, or left too much behind.
    fn forget_finished(&self) {
        let mut budget = RESUME_BYTES;
        let mut answering = lock(&self.answering);
        let mut newest_first: Vec<_> = answering.drain(..).rev().collect();
        newest_first.retain(|stream| {
            let Some(left_for) = stream.left_for() else {
                return true;
            };
            let held = stream.held_bytes();
            let keep = left_for < RESUME_PATIENCE && held <= budget;
            budget = budget.saturating_sub(held);
            keep
        });
        answering.extend(newest_first.into_iter().rev());
    }
}
