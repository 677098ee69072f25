//! The wiring: from a valid configuration to a running guard, and back down in order. The only
//! place that knows every part.
//!
//! Start: store → keyring → certificates → parts → sockets → workers. The listeners are up before any
//! child is.
//! Reload (SIGHUP): all is read and judged anew, and who may sign in is taken over; a configuration
//! that is refused changes nothing.
//! Stop: not ready → no new connections → listening streams end → what is in flight finishes, or the
//! grace runs out → children → store → metrics.

mod admin;
mod certificates;
mod metrics;
mod report;
mod service_manager;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_rustls::rustls;

use crate::admin::{Endpoints, Health};
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Reread, StoreSettings};
use crate::crypto::{Keyring, KeyringError};
use crate::gateway::{self, Gateway};
use crate::grant::{GrantId, Grants};
use crate::http::Origins;
use crate::http::client::HttpClient;
use crate::identity::IdentityProviders;
use crate::listener::{self, BindError, Bound, Drain, PassedSockets, Workers};
use crate::oauth::AuthorizationServer;
use crate::resource::ProtectedResource;
use crate::routes::{MESSAGES_PATH, Requests, Routes, document_limit};
use crate::signing::{SigningError, SigningKeys};
use crate::store::{OpenError, Store};
use crate::tls::{FilesError, KeyPairError};
use crate::upstream::Upstream;
use admin::AdminListener;
use certificates::Tls;
use metrics::Metrics;
use report::Report;

/// Overdue requests and idle sessions are looked for this often.
const SWEEP_SESSIONS: Duration = Duration::from_secs(1);
/// Expired records and unused clients, this often.
const SWEEP_STORE: Duration = Duration::from_mins(5);

/// That anybody may come in is said this often.
const WARN_OF_ANYBODY: Duration = Duration::from_hours(1);
/// What was decided by the old rules is out of use by then: [`ProtectedResource`] remembers it for
/// five seconds.
const RULES_SETTLE: Duration = Duration::from_secs(6);

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
    Certificate(#[from] FilesError),
    #[error("no certificate to begin with could be made")]
    Stopgap(#[from] KeyPairError),
    #[error("TLS is not available")]
    Tls(#[source] rustls::Error),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the runtime could not be started")]
    Runtime(#[source] std::io::Error),
}

/// A running guard.
pub struct Guard {
    parts: Parts,
    store: Store,
    health: Health,
    drain: Drain,
    workers: Workers,
    admin: Option<AdminListener>,
    shutdown_grace: Duration,
    /// Who may sign in with which provider without being on a list; changes with every reload.
    open_to_anybody: watch::Sender<Vec<String>>,
    /// Has the files of a certificate looked at.
    look_at_files: Option<Arc<Notify>>,
    chores: JoinSet<()>,
}

/// What knows and decides, as far as more than one of the others needs it.
struct Parts {
    grants: Grants,
    origins: Origins,
    identity: Arc<IdentityProviders>,
    resource: Arc<ProtectedResource>,
    authorization_server: Arc<AuthorizationServer>,
    gateway: Arc<Gateway>,
    signing: Option<Arc<SigningKeys>>,
}

/// Runs a guard until SIGTERM or SIGINT. `sockets` replace the addresses to listen on, if there are
/// any. `ready` is called once it listens, `reread` at every SIGHUP. A second signal to stop does not
/// wait for anything any more.
pub fn run(
    config: &Config,
    sockets: PassedSockets,
    reread: impl Fn() -> Result<Reread, ConfigError>,
    ready: impl FnOnce(&Config),
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    runtime.block_on(async {
        let listen_for = |kind| signal(kind).map_err(Error::Runtime);
        let mut terminate = listen_for(SignalKind::terminate())?;
        let mut interrupt = listen_for(SignalKind::interrupt())?;
        let hangup = listen_for(SignalKind::hangup())?;
        let mut guard = Guard::start(config, sockets, Clock::system()).await?;
        let report = guard.report(config);
        ready(config);
        tokio::select! {
            () = guard.reload_at(hangup, reread, &report) => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        report.stopping();
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
    pub async fn start(
        config: &Config,
        mut sockets: PassedSockets,
        clock: Clock,
    ) -> Result<Self, Error> {
        let started = SystemTime::now();
        let (store, keyring) = open_state(&config.store, &clock)?;
        let signing = signing_keys(&config.upstream, &store, &keyring, &clock).await?;
        let tls = Tls::open(config, &store, &keyring, &clock).await?;
        let parts = Parts::new(config, &store, keyring, clock, signing);
        let health = health(config, tls.as_ref());
        let drain = Drain::new();
        let routes = Arc::new(parts.routes(config, &health, tls.as_ref()));
        let admin = admin::bind(config, sockets.take_admin())?;
        let workers = bind(config, tls.as_ref(), sockets)?
            .serve(&routes, &drain)
            .map_err(Error::Runtime)?;
        let metrics = Metrics {
            started,
            health: health.clone(),
            drain: drain.clone(),
            workers: workers.figures(),
            routes,
            certificates: tls
                .as_ref()
                .map(|tls| tls.watch(config.external_url.host())),
        };
        let admin = match admin {
            Some(bound) => Some(serve_metrics(bound, metrics)?),
            None => None,
        };
        let (open_to_anybody, rules) = watch::channel(config.open_to_anybody.clone());
        let mut chores = parts.chores(&store, &rules);
        let look_at_files = tls.as_ref().map(Tls::look_now);
        if let Some(tls) = tls {
            tls.keep_fresh(&mut chores);
        }
        Ok(Self {
            chores,
            look_at_files,
            parts,
            store,
            health,
            drain,
            workers,
            admin,
            shutdown_grace: config.shutdown_grace,
            open_to_anybody,
        })
    }

    /// Tells the service manager that it is ready, and from now on that it lives.
    fn report(&mut self, config: &Config) -> Arc<Report> {
        let report = Report::new(config, self.health.clone());
        report.ready();
        self.chores.spawn(Arc::clone(&report).once_equipped());
        let pulse = self.workers.pulse();
        self.chores.spawn(Arc::clone(&report).keep_alive(pulse));
        report
    }

    /// Reloads at every such signal, for ever.
    async fn reload_at(
        &self,
        mut signal: Signal,
        reread: impl Fn() -> Result<Reread, ConfigError>,
        report: &Report,
    ) {
        while signal.recv().await.is_some() {
            report.reloading();
            match reread() {
                Ok(reread) => {
                    let needs_restart = self.reload(reread);
                    report.reloaded(&needs_restart);
                }
                Err(error) => {
                    tracing::error!(event = "reload_refused", %error, hint = error.hint_text(),
                        "the configuration is refused; the old one stays");
                    report.reload_refused(error);
                }
            }
        }
        // There will be none any more; that is no reason to stop.
        std::future::pending::<()>().await;
    }

    /// Takes over who may sign in, and a certificate that changed. It counts from the next request on,
    /// and what people have open who are no longer let in ends. Returns what else was asked for
    /// and has to wait for a restart.
    pub fn reload(&self, reread: Reread) -> Vec<String> {
        let Reread {
            config,
            needs_restart,
        } = reread;
        self.parts.identity.reload(config.identity);
        self.parts.resource.forget();
        self.parts.gateway.end_unwelcome(&self.parts.identity);
        self.open_to_anybody.send_replace(config.open_to_anybody);
        if let Some(look) = &self.look_at_files {
            look.notify_one();
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if !needs_restart.is_empty() {
            tracing::warn!("needs a restart: {}", needs_restart.join(", "));
        }
        tracing::info!(event = "reloaded", "who may sign in was read anew");
        needs_restart
    }

    /// Stops in order; takes at most the grace, and what the children take to go.
    pub async fn stop(mut self) {
        self.health.stop();
        self.drain.begin();
        self.parts.gateway.end_listening();
        self.drain.wait(self.shutdown_grace).await;
        self.parts.gateway.stop().await;
        self.chores.shutdown().await;
        self.workers.join();
        self.store.close().await;
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
    }
}

impl Parts {
    fn new(
        config: &Config,
        store: &Store,
        keyring: Keyring,
        clock: Clock,
        signing: Option<Arc<SigningKeys>>,
    ) -> Self {
        let origins = Origins::new(config.external_url.clone(), config.allowed_origins.clone());
        let (kept, sealing) = (store.clone(), keyring.clone());
        let grants = Grants::new(kept, sealing, clock.clone(), config.lifetimes);
        let identity = identity_providers(config, store, &clock);
        let resource = ProtectedResource::new(
            &config.external_url,
            &config.mcp_path,
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
            Arc::clone(&identity),
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
        Self {
            grants,
            origins,
            identity,
            resource,
            authorization_server,
            gateway,
            signing,
        }
    }

    fn routes(&self, config: &Config, health: &Health, tls: Option<&Tls>) -> Routes {
        Routes {
            external_url: config.external_url.clone(),
            mcp_path: config.mcp_path.clone(),
            mirrors: matches!(config.upstream, Upstream::Url(_)),
            server_name: config.oauth.server_name.clone(),
            origins: self.origins.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            authorization_server: Arc::clone(&self.authorization_server),
            resource: Arc::clone(&self.resource),
            gateway: Arc::clone(&self.gateway),
            signing: self.signing.clone(),
            health: health.clone(),
            documents: document_limit(),
            plain_http: tls.map(Tls::plain_http),
            hsts: tls.and_then(Tls::hsts),
            requests: Requests::default(),
        }
    }

    /// What is to be done again and again. `rules` changes whenever they do.
    fn chores(&self, store: &Store, rules: &watch::Receiver<Vec<String>>) -> JoinSet<()> {
        let gateway = || Arc::clone(&self.gateway);
        let mut chores = JoinSet::new();
        chores.spawn(sweep_sessions(gateway()));
        chores.spawn(sweep_store(
            Arc::clone(&self.authorization_server),
            store.clone(),
        ));
        chores.spawn(end_revoked_streams(gateway(), self.grants.revocations()));
        chores.spawn(end_latecomers(
            gateway(),
            Arc::clone(&self.identity),
            rules.clone(),
        ));
        chores.spawn(warn_of_anybody(rules.clone()));
        if let Some(keys) = &self.signing {
            chores.spawn(refresh_signing_keys(Arc::clone(keys)));
        }
        chores
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

fn health(config: &Config, tls: Option<&Tls>) -> Health {
    match tls {
        None => Health::new(|| true),
        Some(tls) => Health::new(tls.readiness(config.external_url.host())),
    }
}

fn serve_metrics(bound: Bound, metrics: Metrics) -> Result<AdminListener, Error> {
    let endpoints = Endpoints::new(metrics.health.clone(), move || metrics.text());
    AdminListener::serve(bound, endpoints).map_err(Error::Runtime)
}

fn bind(config: &Config, tls: Option<&Tls>, sockets: PassedSockets) -> Result<Bound, Error> {
    let were_passed = !sockets.is_empty();
    let bound = listener::bind(&listener_settings(config, tls)?, sockets)?;
    if were_passed {
        let addresses: Vec<String> = bound
            .local_addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        tracing::info!(
            addresses = addresses.join(", "),
            "listening on sockets that were passed"
        );
    }
    Ok(bound)
}

fn listener_settings(config: &Config, tls: Option<&Tls>) -> Result<listener::Settings, Error> {
    let tls = tls.map(|tls| tls.listener_settings(config));
    Ok(listener::Settings {
        addresses: config.listening.addresses.clone(),
        if_possible: config.listening.if_possible.clone(),
        tls: tls.transpose()?,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        max_connections: config.limits.connections,
        max_connections_per_address: config.limits.connections_per_address,
        proxies: config
            .listening
            .proxy_protocol
            .then(|| config.trusted_proxies.clone()),
    })
}

fn gateway_settings(config: &Config) -> gateway::Settings {
    gateway::Settings {
        max_body_size: config.limits.body_size,
        max_streams_per_user: config.limits.streams_per_user,
        max_requests_per_user: config.limits.requests_per_user,
        streaming_only: config.http_streaming_only,
        messages_path: format!("{}{MESSAGES_PATH}", config.external_url.prefix()),
        start_timeout: config.timeouts.start,
        request_timeout: config.timeouts.request,
        session_idle_timeout: config.timeouts.session_idle,
    }
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

/// Who was let in by the old rules a moment before they changed may have opened something since.
async fn end_latecomers(
    gateway: Arc<Gateway>,
    identity: Arc<IdentityProviders>,
    mut rules: watch::Receiver<Vec<String>>,
) {
    while rules.changed().await.is_ok() {
        tokio::time::sleep(RULES_SETTLE).await;
        gateway.end_unwelcome(&identity);
    }
}

async fn warn_of_anybody(open: watch::Receiver<Vec<String>>) {
    loop {
        tokio::time::sleep(WARN_OF_ANYBODY).await;
        let providers = open.borrow().join(", ");
        if !providers.is_empty() {
            tracing::warn!(
                providers,
                "anybody with an account there may come in (--allow-any-user)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use super::*;

    /// What was logged on this thread.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn warnings(&self) -> usize {
            let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
            text.matches("providers=\"GitHub, Google\"").count()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a158_that_anybody_may_come_in_is_said_every_hour_until_it_is_over() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let open = ["GitHub", "Google"].map(str::to_owned).to_vec();
        let (rules, chore) = watch::channel(open);
        let chore = tokio::spawn(warn_of_anybody(chore));
        tokio::time::sleep(WARN_OF_ANYBODY / 2).await;
        assert_eq!(log.warnings(), 0);
        tokio::time::sleep(2 * WARN_OF_ANYBODY).await;
        assert_eq!(log.warnings(), 2);
        rules.send_replace(Vec::new());
        tokio::time::sleep(2 * WARN_OF_ANYBODY).await;
        assert_eq!(log.warnings(), 2);
        chore.abort();
    }
}
