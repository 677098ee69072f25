//! Randomness, digests, sealing, signing and the keyring. Everything cryptographic goes through here, and
//! through one library, aws-lc-rs.
//!
//! The library's calls can fail only where it is itself broken: no randomness, no memory. Nothing
//! that needs a key may go on then, and an error would only invite somebody to carry on without
//! one, so the process ends (see [`random::bytes`]).

mod hash;
mod key_file;
mod keyring;
pub mod random;
mod sealing;
mod signing;

pub use hash::{TokenHash, same_secret};
pub use keyring::{Keyring, KeyringError, Purpose};
pub use sealing::{open_under, seal_under};
pub use signing::{PublicKey, SigningKey};

/// Ends the process: the cryptographic library is not able to do its work.
fn give_up(what: &'static str) -> ! {
    tracing::error!(
        what,
        "the cryptographic library failed; nothing can be trusted now"
    );
    std::process::abort()
}
