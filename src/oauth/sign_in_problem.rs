//! What a person is shown when a sign-in at an identity provider comes to nothing: in our words, and
//! in none of the provider's. Who signed in but is not let in sees the consent page instead.

use std::time::Duration;

use hyper::StatusCode;

use crate::identity::SignInError;
use crate::pages::Link;

use super::error::RETRY;

/// Why there is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignInProblem {
    /// The provider is not configured.
    NoSuchProvider,
    /// It is over, too old, or never began.
    Stale,
    /// It began in another browser.
    Foreign,
    /// Too many from this network; when there may be another.
    TooMany(Duration),
    /// The provider is out of reach. The sign-in waits.
    Unavailable,
    /// The provider answered with nonsense, or refuses us.
    Broken,
    /// The provider's answer must not be believed.
    Untrusted,
}

impl From<&SignInError> for SignInProblem {
    fn from(error: &SignInError) -> Self {
        match error {
            SignInError::Unavailable(_) => Self::Unavailable,
            SignInError::Expired(_) => Self::Stale,
            SignInError::Broken(_) => Self::Broken,
            SignInError::Untrusted(_) | SignInError::Refused(_) => Self::Untrusted,
        }
    }
}

impl SignInProblem {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::NoSuchProvider => StatusCode::NOT_FOUND,
            Self::Stale => StatusCode::BAD_REQUEST,
            Self::Foreign | Self::Untrusted => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_GATEWAY,
        }
    }

    pub(super) const fn wait(self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some(wait),
            Self::Unavailable => Some(RETRY),
            _ => None,
        }
    }

    /// The same address once more: an empty reference (RFC 3986 §4.4), so that nothing which came
    /// with the request has to be repeated on the page.
    pub(super) fn link(self) -> Option<Link<'static>> {
        (self == Self::Unavailable).then_some(Link {
            url: "",
            text: "Try again",
            at_once: false,
        })
    }

    /// Title, what happened, what to do.
    pub(super) const fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoSuchProvider => (
                "There is no such way to sign in",
                "This server does not sign people in with that service.",
                "Start the connection again in your app.",
            ),
            Self::Stale => (
                "This sign-in is over",
                "It was completed before, or it took longer than ten minutes.",
                "If your app is not connected, start the connection again there.",
            ),
            Self::Foreign => (
                "This sign-in began elsewhere",
                "It belongs to another browser, or this one does not send its cookies. Nothing was \
                 allowed.",
                "If somebody sent you this link, close this page. If you began yourself, finish in \
                 the browser that you began in, or start again in your app.",
            ),
            Self::TooMany(_) => (
                "Too many sign-ins at once",
                "Many sign-ins were begun from your network.",
                "Wait a minute, then go back and try again.",
            ),
            Self::Unavailable => (
                "The sign-in service cannot be reached",
                "This server could not ask it who you are. This is not your doing, and your sign-in \
                 is not lost.",
                "Wait a moment, then try again.",
            ),
            Self::Broken => (
                "The sign-in did not work",
                "The sign-in service did not answer as it should. Nothing was allowed.",
                "Start the connection again in your app. If it happens again, tell whoever runs this \
                 server.",
            ),
            Self::Untrusted => (
                "This sign-in cannot be trusted",
                "What came back from the sign-in service did not pass this server's checks. Nothing \
                 was allowed.",
                "Start the connection again in your app. If it happens again, tell whoever runs this \
                 server.",
            ),
        }
    }
}
