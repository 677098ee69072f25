//! Counters, for whichever room has something to count. A room keeps its own and gives out what they
//! stand at; `app` puts them together when somebody asks.
//!
//! To count takes no lock, allocates nothing and formats nothing. What may stand in a label is a
//! closed set: no number of strangers makes more of them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads beyond this many share a shard with another.
const SHARDS: usize = 16;
/// The most values that a label has: as many as fit in a line of the cache.
const MOST: usize = 8;

/// Counts what happens rarely, or never at the same time on two threads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What it stands at.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A label that tells counters apart.
pub trait Label: Copy + PartialEq + 'static {
    const NAME: &'static str;
    /// The values that are told, eight at most. Others are not counted.
    const ALL: &'static [Self];

    fn value(self) -> &'static str;
}

/// A counter for each value of a label, in a copy for each thread: on the way of every request,
/// threads that pull at one line of the cache would wait for each other.
pub struct Counts<L> {
    shards: [Shard; SHARDS],
    of: PhantomData<L>,
}

#[derive(Default)]
#[repr(align(64))]
struct Shard([AtomicU64; MOST]);

thread_local! {
    /// The shard of this thread.
    static OWN: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

impl<L: Label> Counts<L> {
    pub fn count(&self, value: L) {
        self.add(value, 1);
    }

    /// Counts `times` at once.
    pub fn add(&self, value: L, times: u64) {
        let shard = OWN.with(|own| self.shards.get(*own));
        let cell = shard.and_then(|shard| shard.0.get(place(value)));
        if let Some(cell) = cell {
            cell.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// What they stand at, each with its value.
    pub fn totals(&self) -> impl Iterator<Item = (L, u64)> {
        let total = |value| {
            let cells = self.shards.iter().map(|shard| shard.0.get(place(value)));
            let cells = cells.flatten().map(|cell| cell.load(Ordering::Relaxed));
            (value, cells.sum())
        };
        L::ALL.iter().copied().map(total)
    }

    /// What one of them stands at.
    pub fn total(&self, value: L) -> u64 {
        let mut totals = self.totals();
        totals
            .find(|(other, _)| *other == value)
            .map_or(0, |(_, total)| total)
    }
}

fn place<L: Label>(value: L) -> usize {
    const { assert!(L::ALL.len() <= MOST, "a label has too many values") };
    let place = L::ALL.iter().position(|other| *other == value);
    // Beyond the last: it is in no copy.
    place.unwrap_or(MOST)
}

impl<L> Default for Counts<L> {
    fn default() -> Self {
        Self {
            shards: Default::default(),
            of: PhantomData,
        }
    }
}

impl<L: Label> fmt::Debug for Counts<L> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.totals();
        let totals = totals.map(|(value, total)| (value.value(), total));
        out.debug_map().entries(totals).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Colour {
        Red,
        Blue,
    }

    impl Label for Colour {
        const NAME: &'static str = "colour";
        const ALL: &'static [Self] = &[Self::Red, Self::Blue];

        fn value(self) -> &'static str {
            match self {
                Self::Red => "red",
                Self::Blue => "blue",
            }
        }
    }

    #[test]
    fn each_value_has_a_count_of_its_own() {
        let counts = Counts::default();
        counts.count(Colour::Blue);
        counts.count(Colour::Blue);
        let totals: Vec<_> = counts.totals().collect();
        assert_eq!(totals, [(Colour::Red, 0), (Colour::Blue, 2)]);
        assert_eq!(counts.total(Colour::Blue), 2);
    }

    #[test]
    fn nothing_is_lost_however_many_threads_count() {
        let counts = Arc::new(Counts::default());
        let threads = (0..2 * SHARDS).map(|_| {
            let counts = Arc::clone(&counts);
            std::thread::spawn(move || (0..1000).for_each(|_| counts.count(Colour::Red)))
        });
        let threads: Vec<_> = threads.collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(counts.total(Colour::Red), 2000 * SHARDS as u64);
    }
}
