//! Randomness, digests, sealing and the keyring. Everything cryptographic goes through here, and
//! through one library, aws-lc-rs.

mod hash;
mod keyring;
pub mod random;

pub use hash::TokenHash;
pub use keyring::{Keyring, KeyringError, Purpose, open_under, seal_under};
