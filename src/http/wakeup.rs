//! A connection's waker, which can be told what not to wake for.
//!
//! hyper wakes a connection when a piece of a request's body is taken from it, so that it may bring
//! the next. Where that piece was the last, the connection would be looked at once more for nothing.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

thread_local! {
    static HELD: Cell<Held> = const { Cell::new(Held::Nothing) };
}

/// Whether wake-ups on this thread are being held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// They would be; there was none so far.
    Ready,
    /// There was one.
    Back,
}

/// Makes the waker of one task, with which a connection is polled.
#[derive(Default)]
pub struct Wakeup(Option<(Arc<Doorbell>, Waker)>);

struct Doorbell {
    task: Waker,
}

impl Wakeup {
    /// Wakes `task`, unless that is held back.
    pub fn of(&mut self, task: &Waker) -> &Waker {
        let known = self.0.take();
        let known = known.filter(|(bell, _)| bell.task.will_wake(task));
        let (_, waker) = self.0.insert(known.unwrap_or_else(|| {
            let bell = Arc::new(Doorbell { task: task.clone() });
            (Arc::clone(&bell), Waker::from(bell))
        }));
        waker
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if HELD.get() == Held::Nothing {
            self.task.wake_by_ref();
        } else {
            HELD.set(Held::Back);
        }
    }
}

/// Holds back the wake-ups of connections for as long as `action` takes, and says whether there was
/// any.
pub(super) fn held_back<T>(action: impl FnOnce() -> T) -> (T, bool) {
    let _until_then = Hold::begin();
    let outcome = action();
    (outcome, HELD.get() == Held::Back)
}

/// Ends by being dropped: a panic must not silence the connections of a thread.
struct Hold;

impl Hold {
    fn begin() -> Self {
        HELD.set(Held::Ready);
        Self
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.set(Held::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_is_woken_unless_that_is_held_back() {
        let task = Arc::new(Task::default());
        let woken = || task.0.load(Ordering::Relaxed);
        let mut wakeup = Wakeup::default();
        let waker = wakeup.of(&Waker::from(Arc::clone(&task))).clone();
        waker.wake_by_ref();
        assert_eq!(woken(), 1);
        assert_eq!(held_back(|| waker.wake_by_ref()), ((), true));
        assert_eq!(held_back(|| ()), ((), false));
        assert_eq!(woken(), 1);
        waker.wake();
        assert_eq!(woken(), 2);
    }

    #[test]
    fn a_panic_holds_nothing_back_for_longer() {
        let task = Arc::new(Task::default());
        let waker = Wakeup::default()
            .of(&Waker::from(Arc::clone(&task)))
            .clone();
        let panicked = std::panic::catch_unwind(|| held_back(|| panic!("expected")));
        assert!(panicked.is_err());
        waker.wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_connection_that_moves_to_another_task_wakes_that() {
        let tasks = [Task::default(), Task::default()].map(Arc::new);
        let mut wakeup = Wakeup::default();
        for task in [&tasks[0], &tasks[0], &tasks[1]] {
            wakeup.of(&Waker::from(Arc::clone(task))).wake_by_ref();
        }
        assert_eq!(tasks.map(|task| task.0.load(Ordering::Relaxed)), [2, 1]);
    }
}
