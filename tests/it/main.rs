//! The guard from the outside, with real processes.

// Helpers beside the test functions may fail by panicking, as these may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod children;
