//! What is answered where `--admin-listen` says: figures and health. Nothing that is guarded, no name
//! and no token; clients' own listeners know nothing of `/metrics`.

use std::future::ready;

use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};

use super::Health;
use crate::http::{Body, Inbound, Reply, canonicalise, full};
use crate::listener::{Peer, Service};
use crate::telemetry::exposition::{ExpositionError, TEXT_FORMAT};

type Metrics = dyn Fn() -> Result<String, ExpositionError> + Send + Sync;

/// `/metrics`, `/healthz` and `/readyz`.
pub struct Endpoints {
    health: Health,
    metrics: Box<Metrics>,
}

impl Endpoints {
    /// `metrics` is asked with every scrape.
    pub fn new(
        health: Health,
        metrics: impl Fn() -> Result<String, ExpositionError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            health,
            metrics: Box::new(metrics),
        }
    }

    fn answer(&self, request: &Inbound) -> Reply {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        match request.path() {
            "/metrics" | "/healthz" | "/readyz" if !is_read => method_not_allowed(),
            "/metrics" => self.metrics(),
            "/healthz" => self.health.live(),
            "/readyz" => self.health.ready(),
            _ => plain(StatusCode::NOT_FOUND),
        }
    }

    fn metrics(&self) -> Reply {
        let text = match (self.metrics)() {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "a scrape was not answered");
                return plain(StatusCode::INTERNAL_SERVER_ERROR);
            }
        };
        let mut reply = Response::new(full(text));
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply
    }
}

impl Service for Endpoints {
    fn call(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Reply> {
        let mut reply = match canonicalise(request, peer.address, &[]) {
            Ok(inbound) => self.answer(&inbound),
            Err(refusal) => refusal.reply(),
        };
        let nosniff = HeaderValue::from_static("nosniff");
        reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        ready(reply)
    }
}

fn method_not_allowed() -> Reply {
    let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED);
    let read = HeaderValue::from_static("GET, HEAD");
    reply.headers_mut().insert(ALLOW, read);
    reply
}

fn plain(status: StatusCode) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = status;
    reply
}
