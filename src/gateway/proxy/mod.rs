//! The proxy: a wrapped server that speaks HTTP itself, behind the gate.

use hyper::StatusCode;

use super::{Settings, reply};
use crate::crypto::Keyring;
use crate::grant::GrantId;
use crate::http::{Inbound, Reply};
use crate::resource::Principal;
use crate::upstream::http;

/// A wrapped URL, as clients see it.
pub(super) struct Proxy {
    settings: Settings,
    upstream: http::Settings,
    keyring: Keyring,
}

impl Proxy {
    pub(super) fn new(settings: Settings, upstream: http::Settings, keyring: Keyring) -> Self {
        Self {
            settings,
            upstream,
            keyring,
        }
    }

    /// Answers a request of this principal's.
    pub(super) async fn answer(&self, request: Box<Inbound>, principal: &Principal) -> Reply {
        let _ = (
            request,
            principal,
            &self.settings,
            &self.upstream,
            &self.keyring,
        );
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
