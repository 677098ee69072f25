//! A token bucket per key, bounded in the number of keys it remembers.
