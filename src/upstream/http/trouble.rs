//! What can go wrong between the guard and the wrapped server, and whose fault it is.

use std::error::Error;
use std::time::Duration;

/// Why there is no answer. The texts are for the log: they name addresses that no client should see.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nothing was sent.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The request was sent; whether it ran is not known.
    #[error("the server's answer broke off or cannot be understood: {0}")]
    Broken(String),
    /// The request was sent; whether it runs is not known.
    #[error("the server did not begin to answer within {0:?}")]
    Slow(Duration),
    /// The client's fault, as are those below.
    #[error("the request's body is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request's body did not arrive in time")]
    ClientSlow,
    #[error("the request's body broke off")]
    ClientBroken,
}

/// An error with its causes in one line: hyper's own text says only "connection error".
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
