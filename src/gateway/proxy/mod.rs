//! The proxy: a wrapped server that speaks HTTP itself, behind the gate.

mod assertion;
mod identity_headers;

use hyper::StatusCode;

use super::{Settings, reply};
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::headers::Filter;
use crate::http::{Inbound, Reply};
use crate::resource::Principal;
use crate::upstream::http;

pub(super) use assertion::Assertions;
pub(super) use identity_headers::IdentityHeaders;

/// A wrapped URL, as clients see it.
pub(super) struct Proxy {
    settings: Settings,
    upstream: http::Settings,
    keyring: Keyring,
    /// What of a client's request header goes on.
    filter: Filter,
    /// What the guard adds.
    identity_headers: IdentityHeaders,
}

impl Proxy {
    pub(super) fn new(
        settings: Settings,
        upstream: http::Settings,
        keyring: Keyring,
        identity_headers: IdentityHeaders,
    ) -> Self {
        Self {
            settings,
            upstream,
            keyring,
            filter: identity_headers.filter(),
            identity_headers,
        }
    }

    /// Answers a request of this principal's.
    pub(super) async fn answer(&self, request: Box<Inbound>, principal: &Principal) -> Reply {
        let mut headers = self.filter.request(&request.headers);
        self.identity_headers
            .set(&mut headers, principal, request.client);
        let _ = (headers, &self.settings, &self.upstream, &self.keyring);
        std::future::ready(reply::empty(StatusCode::BAD_GATEWAY)).await
    }

    /// Cuts the streams that `grant` opened.
    pub(super) fn grant_revoked(&self, grant: &GrantId) {
        let _ = (self, grant);
    }

    /// Cuts the listening streams; their clients will come back.
    pub(super) fn end_listening(&self) {
        let _ = self;
    }
}
