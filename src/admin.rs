//! Liveness and readiness, for orchestrators. They say nothing about anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::http::{Reply, full};

/// Whether the guard takes new work. Clones share the state.
#[derive(Clone, Default)]
pub struct Health {
    stopping: Arc<AtomicBool>,
}

impl Health {
    /// From now on `/readyz` says no.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// `/healthz`: the process answers.
    #[allow(clippy::unused_self, reason = "reads as its sibling does")]
    pub fn live(&self) -> Reply {
        state(StatusCode::OK, "ok\n")
    }

    /// `/readyz`: the guard takes new work.
    pub fn ready(&self) -> Reply {
        if self.stopping.load(Ordering::Relaxed) {
            state(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        } else {
            state(StatusCode::OK, "ready\n")
        }
    }
}

fn state(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = Response::new(full(text));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
