//! How many of a thing one subject may have at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::identity::Subject;

/// The places that subjects have taken. One count is kept for each subject that was ever seen.
#[derive(Default)]
pub(super) struct Places(DashMap<Subject, Arc<AtomicUsize>>);

/// One place; dropping it frees it.
pub(super) struct Place(Arc<AtomicUsize>);

impl Places {
    /// A place for `subject`, if it has fewer than `limit`.
    pub(super) fn take(&self, subject: &Subject, limit: usize) -> Option<Place> {
        let taken = self.0.entry(subject.clone()).or_default().clone();
        let more = |taken| (taken < limit).then_some(taken + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Place(taken))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_subject_and_given_back() {
        let places = Places::default();
        let (ann, ben) = (Subject::local("ann"), Subject::local("ben"));
        let held = [places.take(&ann, 2), places.take(&ann, 2)];
        assert!(held.iter().all(Option::is_some));
        assert!(places.take(&ann, 2).is_none());
        assert!(places.take(&ben, 2).is_some());
        drop(held);
        assert!(places.take(&ann, 2).is_some());
    }
}
