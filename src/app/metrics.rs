//! All metrics, by name. What they say of the guard is put together when somebody asks.
//!
//! Labels have closed sets of values, or the names of configured hosts: there is nobody in here
//!

use std::sync::Arc;
use std::time::SystemTime;

use super::certificates::Watch;
use crate::admin::Health;
use crate::gateway;
use crate::listener::{self, Drain};
use crate::routes::Routes;
use crate::telemetry::exposition::{Exposition, ExpositionError, seconds};

/// Whom to ask.
pub(super) struct Metrics {
    pub(super) started: SystemTime,
    pub(super) health: Health,
    pub(super) drain: Drain,
    pub(super) workers: Arc<listener::Figures>,
    pub(super) routes: Arc<Routes>,
    pub(super) certificates: Option<Watch>,
}

impl Metrics {
    /// As they are now.
    pub(super) fn text(&self) -> Result<String, ExpositionError> {
        let mut told = Exposition::default();
        self.tell_process(&mut told);
        self.tell_connections(&mut told);
        self.tell_requests(&mut told);
        self.tell_sign_ins(&mut told);
        tell_server(&self.routes.gateway.figures(), &mut told);
        if let Some(certificates) = &self.certificates {
            certificates.tell(&mut told);
        }
        told.text()
    }

    fn tell_process(&self, told: &mut Exposition) {
        told.gauge("mcp_guard_build_info", "The version that runs; always 1.")
            .add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        told.gauge("process_start_time_seconds", "When the guard was started.")
            .is(seconds(self.started));
        told.gauge("mcp_guard_ready", "1 while /readyz says yes.")
            .is(self.health.is_ready().into());
        told.counter(
            "mcp_guard_panics_total",
            "Requests that were given up because of a fault of the guard's.",
        )
        .is(self.workers.panics.total());
    }

    fn tell_connections(&self, told: &mut Exposition) {
        told.gauge(
            "mcp_guard_connections_open",
            "Connections of clients that are open.",
        )
        .is(self.drain.open() as u64);
        told.counter(
            "mcp_guard_connections_refused_total",
            "Connections that were closed before a request, by why.",
        )
        .counts(&self.workers.refused);
        told.counter(
            "mcp_guard_accept_failures_total",
            "Times that no connection could be accepted, for want of descriptors or memory.",
        )
        .is(self.workers.deaf.total());
    }

    fn tell_requests(&self, told: &mut Exposition) {
        let mut requests = told.counter(
            "mcp_guard_requests_total",
            "Requests that were answered, by what they asked for and by status.",
        );
        for (class, counts) in self.routes.requests.by_class() {
            requests.counts_of(&[("class", class)], counts);
        }
        let mut limited = told.counter(
            "mcp_guard_rate_limited_total",
            "Requests that came too soon, by which limit.",
        );
        limited.add(&[("limit", "user")], self.routes.gateway.figures().limited);
        limited.add(&[("limit", "discovery")], self.routes.documents.refused());
        for (limit, refused) in self.routes.authorization_server.limited() {
            limited.add(&[("limit", limit)], refused);
        }
    }

    fn tell_sign_ins(&self, told: &mut Exposition) {
        let figures = self.routes.authorization_server.figures();
        let mut sign_ins = told.counter(
            "mcp_guard_sign_ins_total",
            "Sign-ins, by where and by what they came to.",
        );
        for (method, counts) in figures.sign_ins() {
            sign_ins.counts_of(&[("method", method)], counts);
        }
        told.counter(
            "mcp_guard_tokens_issued_total",
            "Pairs of tokens, by what they were given for.",
        )
        .counts(&figures.tokens);
        told.counter(
            "mcp_guard_token_errors_total",
            "Refusals of the token endpoint, by error code.",
        )
        .counts(&figures.token_errors);
    }
}

fn tell_server(figures: &gateway::Figures<'_>, told: &mut Exposition) {
    told.counter(
        "mcp_guard_upstream_failures_total",
        "Times that the wrapped server gave no answer, by why.",
    )
    .counts(figures.failures);
    if let Some(sessions) = figures.sessions {
        told.gauge("mcp_guard_sessions_open", "MCP sessions that are open.")
            .is(sessions as u64);
    }
    let Some(children) = figures.children else {
        return;
    };
    told.gauge(
        "mcp_guard_children_running",
        "Server processes that are running, starting or ending.",
    )
    .is(children.alive as u64);
    told.counter(
        "mcp_guard_children_started_total",
        "Server processes that were started.",
    )
    .is(children.started);
    told.counter(
        "mcp_guard_children_crashed_total",
        "Server processes that did not start, or ended soon or in silence.",
    )
    .is(children.crashed);
}
