//! The guard from the outside, with real processes.

mod children;
