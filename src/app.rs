//! The wiring: from a valid configuration to a running guard, and back down in order. The only
//! place that knows every part.
//!
//! Start: store → keyring → parts → sockets → workers. The listeners are up before any child is.
//! Stop: not ready → no new connections → listening streams end → what is in flight finishes, or the
//! grace runs out → children → store.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::admin::Health;
use crate::clock::Clock;
use crate::config::{Config, StoreSettings};
use crate::crypto::{Keyring, KeyringError};
use crate::gateway::{self, Gateway};
use crate::grant::{GrantId, Grants};
use crate::http::Origins;
use crate::http::client::HttpClient;
use crate::identity::IdentityProviders;
use crate::listener::{self, BindError, Drain, Workers};
use crate::oauth::AuthorizationServer;
use crate::resource::ProtectedResource;
use crate::routes::{MCP_PATH, MESSAGES_PATH, Routes};
use crate::signing::{SigningError, SigningKeys};
use crate::store::{OpenError, Store};
use crate::upstream::Upstream;

/// Overdue requests and idle sessions are looked for this often.
const SWEEP_SESSIONS: Duration = Duration::from_secs(1);
/// Expired records and unused clients, this often.
const SWEEP_STORE: Duration = Duration::from_mins(5);

/// Why the guard did not start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("the keys for signed assertions are not at hand")]
    Signing(#[from] SigningError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the runtime could not be started")]
    Runtime(#[source] std::io::Error),
}

/// A running guard.
pub struct Guard {
    gateway: Arc<Gateway>,
    store: Store,
    health: Health,
    drain: Drain,
    workers: Workers,
    shutdown_grace: Duration,
    chores: JoinSet<()>,
}

/// Runs a guard until SIGTERM or SIGINT. `ready` is called once it listens. A second signal does
/// not wait for anything any more.
pub fn run(config: &Config, ready: impl FnOnce(&Config)) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
        let guard = Guard::start(config, Clock::system()).await?;
        ready(config);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; a second signal stops at once");
        tokio::select! {
            () = guard.stop() => tracing::info!("stopped"),
            _ = terminate.recv() => tracing::warn!("stopped at once"),
            _ = interrupt.recv() => tracing::warn!("stopped at once"),
        }
        Ok(())
    })
}

/// Refuses a data directory that a start would refuse for what it is or whose, as far as can be told
/// without changing anything; a guard that uses it is no reason.
pub fn check(config: &Config) -> Result<(), Error> {
    match &config.store {
        StoreSettings::Memory => Ok(()),
        StoreSettings::Sqlite(directory) => Ok(Store::examine(directory)?),
    }
}

impl Guard {
    /// Starts all parts. Must be called on a runtime, which then does the periodic chores.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, Error> {
        let (store, keyring) = open_state(&config.store, &clock)?;
        let signing = signing_keys(&config.upstream, &store, &keyring, &clock).await?;
        let origins = Origins::new(config.external_url.clone(), config.allowed_origins.clone());
        let (kept, sealing) = (store.clone(), keyring.clone());
        let grants = Grants::new(kept, sealing, clock.clone(), config.lifetimes);
        let identity = identity_providers(config, &store, &clock);
        let resource = ProtectedResource::new(
            &config.external_url,
            MCP_PATH,
            grants.clone(),
            Arc::clone(&identity),
            clock.clone(),
        );
        let authorization_server = AuthorizationServer::new(
            config.oauth.clone(),
            store.clone(),
            keyring.clone(),
            grants.clone(),
            clock.clone(),
            identity,
            origins.clone(),
        );
        let gateway = Gateway::new(
            gateway_settings(config),
            config.upstream.clone(),
            Arc::clone(&resource),
            keyring,
            clock,
            &config.external_url,
            signing.clone(),
        );
        let health = Health::default();
        let routes = Arc::new(Routes {
            external_url: config.external_url.clone(),
            server_name: config.oauth.server_name.clone(),
            origins,
            trusted_proxies: config.trusted_proxies.clone(),
            authorization_server: Arc::clone(&authorization_server),
            resource,
            gateway: Arc::clone(&gateway),
            signing: signing.clone(),
            health: health.clone(),
        });
        let drain = Drain::new();
        let workers = listener::bind(&listener_settings(config))?
            .serve(&routes, &drain)
            .map_err(Error::Runtime)?;
        let chores = chores(&gateway, &authorization_server, &store, &grants, signing);
        Ok(Self {
            gateway,
            store,
            health,
            drain,
            workers,
            shutdown_grace: config.shutdown_grace,
            chores,
        })
    }

    /// Stops in order; takes at most the grace, and what the children take to go.
    pub async fn stop(mut self) {
        self.health.stop();
        self.drain.begin();
        self.gateway.end_listening();
        self.drain.wait(self.shutdown_grace).await;
        self.gateway.stop().await;
        self.chores.shutdown().await;
        self.workers.join();
        self.store.close().await;
    }
}

fn open_state(settings: &StoreSettings, clock: &Clock) -> Result<(Store, Keyring), Error> {
    Ok(match settings {
        StoreSettings::Memory => (Store::memory(clock.clone()), Keyring::ephemeral()),
        StoreSettings::Sqlite(directory) => {
            let store = Store::sqlite(directory, clock.clone())?;
            (
                store,
                Keyring::load_or_create(&directory.join("keyring.json"))?,
            )
        }
    })
}

fn identity_providers(config: &Config, store: &Store, clock: &Clock) -> Arc<IdentityProviders> {
    IdentityProviders::new(
        config.identity.clone(),
        config.external_url.clone(),
        HttpClient::new(config.extra_roots.clone()),
        store.clone(),
        clock.clone(),
    )
}

/// Only where something is signed (`--identity-jwt`).
async fn signing_keys(
    upstream: &Upstream,
    store: &Store,
    keyring: &Keyring,
    clock: &Clock,
) -> Result<Option<Arc<SigningKeys>>, SigningError> {
    if !matches!(upstream, Upstream::Url(url) if url.identity_jwt) {
        return Ok(None);
    }
    let keys = SigningKeys::load(store.clone(), keyring.clone(), clock.clone()).await?;
    Ok(Some(keys))
}

fn listener_settings(config: &Config) -> listener::Settings {
    listener::Settings {
        addresses: config.listening.addresses.clone(),
        if_possible: config.listening.if_possible.clone(),
        tls: None,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        max_connections: config.limits.connections,
        max_connections_per_address: config.limits.connections_per_address,
    }
}

fn gateway_settings(config: &Config) -> gateway::Settings {
    gateway::Settings {
        max_body_size: config.limits.body_size,
        max_streams_per_user: config.limits.streams_per_user,
        streaming_only: config.http_streaming_only,
        messages_path: format!("{}{MESSAGES_PATH}", config.external_url.prefix()),
        start_timeout: config.timeouts.start,
        request_timeout: config.timeouts.request,
        session_idle_timeout: config.timeouts.session_idle,
    }
}

fn chores(
    gateway: &Arc<Gateway>,
    authorization_server: &Arc<AuthorizationServer>,
    store: &Store,
    grants: &Grants,
    signing: Option<Arc<SigningKeys>>,
) -> JoinSet<()> {
    let mut chores = JoinSet::new();
    chores.spawn(sweep_sessions(Arc::clone(gateway)));
    chores.spawn(sweep_store(Arc::clone(authorization_server), store.clone()));
    chores.spawn(end_revoked_streams(
        Arc::clone(gateway),
        grants.revocations(),
    ));
    if let Some(keys) = signing {
        chores.spawn(refresh_signing_keys(keys));
    }
    chores
}

async fn sweep_sessions(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP_SESSIONS).await;
        gateway.sweep();
    }
}

async fn sweep_store(authorization_server: Arc<AuthorizationServer>, store: Store) {
    loop {
        tokio::time::sleep(SWEEP_STORE).await;
        if let Err(error) = store.sweep().await {
            tracing::warn!(%error, "expired records could not be removed");
        }
        authorization_server.sweep().await;
    }
}

async fn refresh_signing_keys(keys: Arc<SigningKeys>) {
    loop {
        tokio::time::sleep(SWEEP_STORE).await;
        if let Err(error) = keys.refresh().await {
            tracing::warn!(%error, "the keys for signed assertions could not be looked at");
        }
    }
}

async fn end_revoked_streams(
    gateway: Arc<Gateway>,
    mut revocations: tokio::sync::broadcast::Receiver<GrantId>,
) {
    loop {
        match revocations.recv().await {
            Ok(grant) => gateway.grant_revoked(&grant),
            // Which ones is not known. Every client has to come back with its token.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "revocations were missed");
                gateway.end_listening();
            }
            Err(RecvError::Closed) => return,
        }
    }
}
