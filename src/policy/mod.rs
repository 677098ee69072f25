//! Limits on what one source may do.

pub mod rate_limit;
