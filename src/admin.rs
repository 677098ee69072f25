//! Liveness and readiness, for orchestrators, and the listener where operators look. They say nothing
//! about anybody.

mod endpoints;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::http::{Reply, full};
pub use endpoints::Endpoints;

/// Whether the guard takes new work. Clones share the state.
#[derive(Clone)]
pub struct Health {
    stopping: Arc<AtomicBool>,
    is_equipped: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Health {
    /// `is_equipped`: whether there is all that work needs. Asked with every probe.
    pub fn new(is_equipped: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            stopping: Arc::default(),
            is_equipped: Arc::new(is_equipped),
        }
    }

    /// From now on `/readyz` says no.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What `/readyz` says.
    pub fn is_ready(&self) -> bool {
        !self.stopping.load(Ordering::Relaxed) && self.is_equipped()
    }

    /// Whether there is all that work needs.
    pub fn is_equipped(&self) -> bool {
        (self.is_equipped)()
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
        } else if !self.is_equipped() {
            // Why is for the log: strangers may ask.
            state(StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    #[test]
    fn a156_readiness_follows_what_is_needed_and_says_no_more_than_that() {
        let has_certificate = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_certificate);
        let health = Health::new(move || asked.load(Ordering::Relaxed));
        let waiting = health.ready();
        assert_eq!(waiting.status(), 503);
        assert!(!health.is_ready());
        let said = waiting.into_body();
        assert!(matches!(said, Body::Full(Some(text)) if text == "not ready\n"));
        assert_eq!(health.live().status(), 200);
        has_certificate.store(true, Ordering::Relaxed);
        assert_eq!(health.ready().status(), 200);
        assert!(health.is_ready());
        health.stop();
        assert!(!health.is_ready());
        assert_eq!(health.ready().status(), 503);
        assert_eq!(health.live().status(), 200);
    }
}
