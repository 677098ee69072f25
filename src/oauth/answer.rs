//! How the outcome of an authorization travels back to the client (RFC 6749 §4.1.2, RFC 9207).
//!
//! The browser is sent on without a click after a person approved, and otherwise only to loopback
//! and well-known hosts; anybody else could use us to give their links our good name (threat case
//! Always 303, never a status that repeats the POST with the password in it.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue, LOCATION, REFERRER_POLICY};

use crate::http::{Body, Reply};
use crate::pages::{Link, Notice};

use super::AuthorizationServer;
use super::error::{ErrorCode, OAuthError, clean};
use super::redirect_uri::{Destination, RedirectUri};

/// Where an answer goes.
pub(super) struct Answer<'a> {
    pub(super) server: &'a AuthorizationServer,
    pub(super) redirect_uri: &'a RedirectUri,
    pub(super) state: Option<&'a str>,
    /// As it may be shown.
    pub(super) client_name: Option<&'a str>,
}

impl Answer<'_> {
    /// The code. Apps that open links of their own are reached from a page of ours: browsers ask
    /// before they open one, and leave a blank page behind.
    pub(super) fn code(&self, code: &str) -> Reply {
        let url = self.url(&[("code", code)]);
        match self.redirect_uri.destination() {
            Destination::Web(_) | Destination::Loopback(_) => see_other(&url),
            Destination::App(_) => self.notice(
                StatusCode::OK,
                "You are signed in",
                "Your browser is about to open the app. If nothing happens, use the button.",
                &url,
                true,
            ),
        }
    }

    /// The error.
    pub(super) fn error(&self, error: &OAuthError) -> Reply {
        let description = clean(&error.description);
        let url = self.url(&[
            ("error", error.code.as_str()),
            ("error_description", &description),
        ]);
        if self.redirect_uri.is_trusted() {
            return see_other(&url);
        }
        let (status, title, what) = match error.code {
            ErrorCode::AccessDenied => (
                StatusCode::OK,
                "Access was not allowed",
                "The app received nothing. You can close this page, or go back to the app.",
            ),
            _ => (
                StatusCode::BAD_REQUEST,
                "The app asked in a way that this server does not accept",
                "Nothing was allowed. Going back tells the app what is wrong.",
            ),
        };
        self.notice(status, title, what, &url, false)
    }

    /// `state` and `iss` go with every answer.
    fn url(&self, outcome: &[(&str, &str)]) -> String {
        let issuer = self.server.settings.external_url.as_str();
        let state = self.state.map(|state| ("state", state));
        let parameters: Vec<(&str, &str)> = outcome
            .iter()
            .copied()
            .chain(state)
            .chain([("iss", issuer)])
            .collect();
        self.redirect_uri.with_parameters(&parameters)
    }

    fn notice(
        &self,
        status: StatusCode,
        title: &str,
        what: &str,
        url: &str,
        at_once: bool,
    ) -> Reply {
        let place = match self.redirect_uri.destination() {
            Destination::Web(host) | Destination::Loopback(host) => host,
            Destination::App(scheme) => self.client_name.unwrap_or(scheme),
        };
        let notice = Notice {
            server_name: &self.server.settings.server_name,
            title,
            what,
            advice: None,
            link: Some(Link {
                url,
                text: &format!("Return to {place}"),
                at_once,
            }),
        };
        notice.reply(status)
    }
}

/// Redirect URIs and providers' URLs are of visible ASCII and parameters percent-encoded, so the
/// header can be made.
pub(super) fn see_other(url: &str) -> Reply {
    let mut reply = Reply::new(Body::empty());
    let Ok(location) = HeaderValue::try_from(url) else {
        *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return reply;
    };
    *reply.status_mut() = StatusCode::SEE_OTHER;
    let headers = reply.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    reply
}
