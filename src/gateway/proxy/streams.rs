//! The open streams of all workers, so that they can be ended: with their grant, or because the guard
//! is stopping (threat case A-103).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use crate::gateway::awaited::Awaited;
use crate::resource::Principal;

/// Opening and closing a stream locks one of these.
const SHARDS: usize = 16;

#[derive(Default)]
pub(super) struct Streams {
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
    next: AtomicU64,
}

struct Entry {
    principal: Arc<Principal>,
    listening: bool,
    ended: Arc<Awaited<bool>>,
}

/// One stream's place among them; dropping it takes it out.
pub(super) struct Open {
    streams: Arc<Streams>,
    number: u64,
    ended: Arc<Awaited<bool>>,
}

impl Streams {
    /// `listening`: it carries what belongs to no request, and its client will come back.
    pub(super) fn open(self: &Arc<Self>, principal: &Arc<Principal>, listening: bool) -> Open {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = Arc::new(Awaited::new(false));
        let entry = Entry {
            principal: Arc::clone(principal),
            listening,
            ended: Arc::clone(&ended),
        };
        if let Some(mut shard) = self.shard(number) {
            shard.insert(number, entry);
        }
        Open {
            streams: Arc::clone(self),
            number,
            ended,
        }
    }

    /// Ends those of the principals that are meant.
    pub(super) fn end(&self, concerned: impl Fn(&Principal) -> bool) {
        self.end_entries(|entry| concerned(&entry.principal));
    }

    pub(super) fn end_listening(&self) {
        self.end_entries(|entry| entry.listening);
    }

    fn end_entries(&self, concerned: impl Fn(&Entry) -> bool) {
        for number in 0..SHARDS as u64 {
            let Some(shard) = self.shard(number) else {
                continue;
            };
            for entry in shard.values().filter(|entry| concerned(entry)) {
                entry.ended.update(|ended| *ended = true);
            }
        }
    }

    fn shard(&self, number: u64) -> Option<MutexGuard<'_, HashMap<u64, Entry>>> {
        let index = usize::try_from(number % SHARDS as u64).ok()?;
        let shard = self.shards.get(index)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Open {
    /// Ready once the stream is to end; until then the task is woken for it.
    pub(super) fn poll_ended(&self, context: &Context<'_>) -> Poll<()> {
        let poll = |ended: &mut bool| {
            if *ended {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        self.ended.poll(context, poll)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut shard) = self.streams.shard(self.number) {
            shard.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::gateway::proxy::tests::principal;

    fn has_ended(open: &Open) -> bool {
        open.poll_ended(&Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a103_a_grants_streams_end_with_it_and_no_others() {
        let streams = Arc::<Streams>::default();
        let (ann, ben) = (principal("ann", "c1"), principal("ben", "c1"));
        let hers: Vec<Open> = (0..40).map(|n| streams.open(&ann, n % 2 == 0)).collect();
        let his = streams.open(&ben, true);
        streams.end(|principal| principal.grant == ann.grant);
        assert!(hers.iter().all(has_ended));
        assert!(!has_ended(&his));
    }

    #[test]
    fn a_stop_ends_those_that_only_listen() {
        let streams = Arc::<Streams>::default();
        let ann = principal("ann", "c1");
        let (listening, answering) = (streams.open(&ann, true), streams.open(&ann, false));
        streams.end_listening();
        assert!(has_ended(&listening) && !has_ended(&answering));
    }

    #[test]
    fn a_closed_stream_leaves_nothing_behind() {
        let streams = Arc::<Streams>::default();
        drop(streams.open(&principal("ann", "c1"), true));
        let left = (0..SHARDS as u64).map(|number| streams.shard(number).unwrap().len());
        assert_eq!(left.sum::<usize>(), 0);
    }
}
