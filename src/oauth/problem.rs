//! What a person is shown when an authorization cannot go on and the client must not be told:
//! because it is unknown, or because nobody knows that the browser belongs to it (RFC 6749
//! §4.1.2.1). Nothing that a stranger sent is repeated on these pages.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use crate::http::{BodyError, Reply};
use crate::pages::{Link, Notice};
use crate::store::StoreError;

use super::error::{RETRY, retry_after};
use super::sign_in_problem::SignInProblem;

/// Why there is a page instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Neither form nor query of ours.
    Malformed,
    QueryTooLong,
    TooLarge,
    UnknownClient,
    ForeignRedirectUri,
    /// The form does not come from a page of ours.
    CrossSite,
    /// The browser did not send the cookie back.
    NoCookie,
    /// The page is too old, altered, or was made for another browser.
    StalePage,
    /// Too many requests from this network; when there may be another.
    TooMany(Duration),
    /// A sign-in at an identity provider came to nothing.
    SignIn(SignInProblem),
    /// Trouble of ours.
    Unavailable,
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::Unavailable
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge,
            BodyError::TimedOut | BodyError::Broken => Self::Malformed,
        }
    }
}

impl From<SignInProblem> for Problem {
    fn from(problem: SignInProblem) -> Self {
        Self::SignIn(problem)
    }
}

impl Problem {
    pub(super) fn page(self, server_name: &str) -> Reply {
        let (title, what, advice) = self.text();
        let notice = Notice {
            server_name,
            title,
            what,
            advice: Some(advice),
            link: self.link(),
        };
        let mut reply = notice.reply(self.status());
        if let Some(wait) = self.wait() {
            reply.headers_mut().insert(RETRY_AFTER, retry_after(wait));
        }
        reply
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::QueryTooLong => StatusCode::URI_TOO_LONG,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::CrossSite | Self::NoCookie | Self::StalePage => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::SignIn(problem) => problem.status(),
            _ => StatusCode::BAD_REQUEST,
        }
    }

    const fn wait(self) -> Option<Duration> {
        match self {
            Self::TooMany(wait) => Some(wait),
            Self::Unavailable => Some(RETRY),
            Self::SignIn(problem) => problem.wait(),
            _ => None,
        }
    }

    fn link(self) -> Option<Link<'static>> {
        match self {
            Self::SignIn(problem) => problem.link(),
            _ => None,
        }
    }

    /// Title, what happened, what to do.
    const fn text(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                "This link is not complete",
                "The app sent your browser here with a request that cannot be read.",
                "Start the connection again in your app. If it happens again, the app has a fault.",
            ),
            Self::QueryTooLong | Self::TooLarge => (
                "This request is too large",
                "The app sent your browser here with more than this server accepts.",
                "Start the connection again in your app. If it happens again, the app has a fault.",
            ),
            Self::UnknownClient => (
                "This app is not known here",
                "It may have registered long ago and never been used, or with another server.",
                "Remove this server from your app and add it again: then the app registers anew.",
            ),
            Self::ForeignRedirectUri => (
                "This request leads elsewhere",
                "The address that your answer was to be sent to is not one that the app registered. \
                 Nothing was sent.",
                "If you started this yourself, remove this server from your app and add it again.",
            ),
            Self::CrossSite => (
                "This did not come from here",
                "Another website tried to answer in your place. Nothing was allowed.",
                "If you were connecting an app, start again in the app.",
            ),
            Self::NoCookie => (
                "This browser sent no cookie",
                "Without it nobody can tell that the answer comes from the browser that was asked.",
                "Allow cookies for this site, or open the link in your usual browser instead of one \
                 inside an app, and start again in your app.",
            ),
            Self::StalePage => (
                "This page has expired",
                "It is older than ten minutes, or it was opened in another browser.",
                "Start the connection again in your app.",
            ),
            Self::TooMany(_) => (
                "Too many requests at once",
                "Many apps were connected from your network in a short time.",
                "Wait a moment, then reload this page.",
            ),
            Self::SignIn(problem) => problem.text(),
            Self::Unavailable => (
                "This server cannot answer now",
                "It cannot reach the place where it keeps its state. This is not your doing.",
                "Try again in a moment.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_the_store_is_a_503_page_that_names_a_time() {
        let reply = Problem::from(StoreError::Unavailable("x".into())).page("Files");
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers()["retry-after"], "5");
        assert_eq!(reply.headers()["x-frame-options"], "DENY");
    }
}
