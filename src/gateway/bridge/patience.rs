//! How long an answer may take and still go out as plain JSON. Longer, and the client sees a stream
//! begin, so that neither it nor a proxy on the way believes the guard dead.
//!
//! A timer for each call would be the dearest part of a quick one: it is set, never fires, and wakes
//! the runtime's driver on the way. All calls have the same patience, so each worker keeps them in
//! a queue and looks at its head now and then.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Exchange;

/// The least that an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often the queue is looked at: what is added to the patience at most.
const GLANCE: Duration = Duration::from_millis(25);

/// A worker's calls that wait for their answer, oldest first.
struct Queue {
    waiting: RefCell<VecDeque<Waiting>>,
    is_watched: Cell<bool>,
}

struct Waiting {
    since: Instant,
    exchange: Weak<Exchange>,
}

thread_local! {
    static QUEUE: Queue = const {
        Queue { waiting: RefCell::new(VecDeque::new()), is_watched: Cell::new(false) }
    };
}

/// Tells the exchange, which begins now, when it has waited long enough. Must be called on a worker.
pub(super) fn watch(exchange: &Arc<Exchange>, since: Instant) {
    QUEUE.with(|queue| {
        let mut waiting = queue.waiting.borrow_mut();
        forget_answered(&mut waiting);
        let exchange = Arc::downgrade(exchange);
        waiting.push_back(Waiting { since, exchange });
        if !queue.is_watched.replace(true) {
            tokio::task::spawn_local(keep_watch());
        }
    });
}

async fn keep_watch() {
    loop {
        tokio::time::sleep(GLANCE).await;
        if !QUEUE.with(|queue| tell_overdue(queue, Instant::now())) {
            return;
        }
    }
}

/// Whether there is anything left to watch.
fn tell_overdue(queue: &Queue, now: Instant) -> bool {
    let mut waiting = queue.waiting.borrow_mut();
    while let Some(oldest) = waiting.pop_front_if(|oldest| now >= oldest.since + PATIENCE) {
        if let Some(exchange) = oldest.exchange.upgrade() {
            exchange.overdue();
        }
    }
    forget_answered(&mut waiting);
    queue.is_watched.set(!waiting.is_empty());
    !waiting.is_empty()
}

/// Answers come more or less in order, so this keeps the queue about as long as there are calls.
fn forget_answered(waiting: &mut VecDeque<Waiting>) {
    while waiting
        .pop_front_if(|oldest| oldest.exchange.strong_count() == 0)
        .is_some()
    {}
}
