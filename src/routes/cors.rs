//! Which pages of other origins may read an answer (Fetch Standard §3.2). Never with credentials:
//! cookies mean nothing outside the sign-in pages, and those answer nobody.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Response, StatusCode};

use crate::http::{Body, Reply};

/// Who may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cors {
    /// Documents and machine endpoints that mean the same to everyone.
    Anyone,
    /// The MCP endpoint: origins that passed the Origin check.
    Listed,
    /// Pages for people.
    Nobody,
}

impl Cors {
    /// Sets the headers of an answer to a page of `origin`.
    pub(super) fn apply(self, headers: &mut HeaderMap, origin: Option<HeaderValue>) {
        match (self, origin) {
            (Self::Nobody, _) => return,
            (Self::Anyone, _) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (Self::Listed, origin) => {
                headers.append(VARY, HeaderValue::from(ORIGIN));
                let Some(origin) = origin else {
                    return;
                };
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            }
        }
        let exposed =
            HeaderValue::from_static("WWW-Authenticate, Mcp-Session-Id, MCP-Protocol-Version");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// The answer to a preflight: no token is asked for, browsers send none.
pub(super) fn preflight() -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::NO_CONTENT;
    let headers = reply.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static(
        "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, \
         Mcp-Name, Last-Event-ID",
    );
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    reply
}
