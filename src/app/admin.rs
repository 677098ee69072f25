//! The listener for operators: bound with the others, and the last to end, so that a stop can be
//! watched.

use std::sync::Arc;
use std::time::Duration;

use crate::admin::Endpoints;
use crate::config::Config;
use crate::listener::{self, BindError, Bound, Drain, PassedSockets, Workers};

/// A few scrapers, and whoever looks by hand. Descriptors are for clients.
const MAX_CONNECTIONS: usize = 64;
/// A scrape takes milliseconds.
const GRACE: Duration = Duration::from_secs(1);

/// What `--admin-listen` asks for, running.
pub(super) struct AdminListener {
    workers: Workers,
    drain: Drain,
}

/// `None` where nobody asks for it. `sockets` replace the addresses, if there are any.
pub(super) fn bind(config: &Config, sockets: PassedSockets) -> Result<Option<Bound>, BindError> {
    let addresses = config.listening.admin.clone();
    if addresses.is_empty() && sockets.is_empty() {
        return Ok(None);
    }
    let settings = listener::Settings {
        addresses,
        if_possible: Vec::new(),
        tls: None,
        workers: 1,
        max_connections: MAX_CONNECTIONS,
        max_connections_per_address: MAX_CONNECTIONS,
        proxies: None,
    };
    let bound = listener::bind(&settings, sockets).map_err(|error| BindError {
        flag: "--admin-listen",
        ..error
    })?;
    let addresses = bound.local_addresses();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    tracing::info!(addresses = addresses.join(", "), "metrics are at /metrics");
    Ok(Some(bound))
}

impl AdminListener {
    pub(super) fn serve(bound: Bound, endpoints: Endpoints) -> std::io::Result<Self> {
        let drain = Drain::new();
        let workers = bound.serve(&Arc::new(endpoints), &drain)?;
        Ok(Self { workers, drain })
    }

    pub(super) async fn stop(self) {
        self.drain.begin();
        self.drain.wait(GRACE).await;
        self.workers.join();
    }
}
