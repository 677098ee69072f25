//! Limits on what one source may do.

mod network;
pub mod rate_limit;

pub use network::Network;
