//! The guard's certificates: there before anybody can ask for one, and kept fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Error;
use crate::acme::{Acme, HostState};
use crate::clock::{Clock, Timestamp};
use crate::config::{CertificateSource, Config};
use crate::crypto::Keyring;
use crate::http::client::HttpClient;
use crate::listener::TlsSettings;
use crate::routes::PlainHttp;
use crate::store::Store;
use crate::telemetry::exposition::{Exposition, seconds};
use crate::tls::{Certificates, Facts, FileCertificate, KeyPair, Look, server_config};

const NOT_AFTER: &str = "mcp_guard_certificate_not_after_timestamp_seconds";
const NOT_AFTER_HELP: &str = "The end of the certificate that is served.";

/// Files of a certificate are looked at this often.
const LOOK: Duration = Duration::from_secs(10);
/// That a certificate has expired is said this often.
const WARN_OF_EXPIRY: Duration = Duration::from_hours(24);

/// TLS of the guard's own.
pub(super) struct Tls {
    certificates: Arc<Certificates>,
    keeper: Keeper,
    hsts: Option<u64>,
    look_now: Arc<Notify>,
}

/// Who sees to it that there is a certificate tomorrow.
enum Keeper {
    Files(Own),
    Acme(Arc<Acme>),
}

/// A certificate in files.
struct Own {
    files: Box<FileCertificate>,
    /// In seconds since the epoch, for whoever watches.
    not_after: Arc<AtomicU64>,
}

/// How it stands with the certificates.
pub(super) enum Watch {
    /// The one that answers for every name.
    Own {
        host: String,
        not_after: Arc<AtomicU64>,
    },
    Acme(Arc<Acme>),
}

impl Tls {
    /// With all certificates in use that there are. `None` where the guard speaks no TLS.
    pub(super) async fn open(
        config: &Config,
        store: &Store,
        keyring: &Keyring,
        clock: &Clock,
    ) -> Result<Option<Self>, Error> {
        let Some(tls) = &config.tls else {
            return Ok(None);
        };
        let certificates = Certificates::new();
        let keeper = match &tls.source {
            CertificateSource::Own(files) => {
                let own = FileCertificate::load(files.clone(), Arc::clone(&certificates))?;
                let own = Own {
                    files: Box::new(own),
                    not_after: Arc::default(),
                };
                own.say_loaded();
                Keeper::Files(own)
            }
            CertificateSource::Acme(settings) => {
                certificates.set_fallback(&KeyPair::stopgap()?);
                let acme = Acme::new(
                    settings.as_ref().clone(),
                    HttpClient::new(config.extra_roots.clone()),
                    store.clone(),
                    keyring.clone(),
                    clock.clone(),
                    Arc::clone(&certificates),
                );
                acme.load().await;
                Keeper::Acme(acme)
            }
        };
        Ok(Some(Self {
            certificates,
            keeper,
            hsts: tls.hsts,
            look_now: Arc::default(),
        }))
    }

    /// Whether clients that come to `host` get its certificate.
    pub(super) fn readiness(&self, host: &str) -> impl Fn() -> bool + Send + Sync + 'static {
        let is_given = matches!(self.keeper, Keeper::Files(_));
        let certificates = Arc::clone(&self.certificates);
        let host = host.to_owned();
        move || is_given || certificates.has(&host)
    }

    /// `host` is what clients come to.
    pub(super) fn watch(&self, host: &str) -> Watch {
        match &self.keeper {
            Keeper::Acme(acme) => Watch::Acme(Arc::clone(acme)),
            Keeper::Files(own) => Watch::Own {
                host: host.to_owned(),
                not_after: Arc::clone(&own.not_after),
            },
        }
    }

    pub(super) fn listener_settings(&self, config: &Config) -> Result<TlsSettings, Error> {
        Ok(TlsSettings {
            addresses: config.listening.secure.clone(),
            config: server_config(Arc::clone(&self.certificates)).map_err(Error::Tls)?,
        })
    }

    pub(super) fn plain_http(&self) -> PlainHttp {
        PlainHttp::new(match &self.keeper {
            Keeper::Files(_) => None,
            Keeper::Acme(acme) => Some(Arc::clone(acme)),
        })
    }

    pub(super) fn hsts(&self) -> Option<HeaderValue> {
        let seconds = self.hsts?;
        HeaderValue::from_str(&format!("max-age={seconds}")).ok()
    }

    /// Whoever holds this can have the files looked at.
    pub(super) fn look_now(&self) -> Arc<Notify> {
        Arc::clone(&self.look_now)
    }

    /// Begins to keep the certificates fresh.
    pub(super) fn keep_fresh(self, chores: &mut JoinSet<()>) {
        match self.keeper {
            Keeper::Files(own) => chores.spawn(look_at_files(own, self.look_now)),
            Keeper::Acme(acme) => chores.spawn(acme.run()),
        };
    }
}

async fn look_at_files(mut own: Own, look_now: Arc<Notify>) {
    let mut said = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = look_now.notified() => {}
        }
        // A file system may take its time.
        let looked = tokio::task::spawn_blocking(move || (own.files.look(), own)).await;
        let Ok((look, back)) = looked else { return };
        own = back;
        match look {
            Look::Unchanged => {}
            Look::Replaced => own.say_loaded(),
            Look::Refused(error) => tracing::error!(event = "certificate_refused", %error,
                hint = error.hint(), "the certificate's files changed; the old one stays in use"),
        }
        say_expired(own.files.facts(), &mut said);
    }
}

impl Own {
    fn say_loaded(&self) {
        let facts = self.files.facts();
        self.not_after
            .store(seconds(facts.not_after), Ordering::Relaxed);
        tracing::info!(
            event = "certificate_loaded",
            names = facts.names_for_people(),
            until = facts.expiry(),
            "a certificate is in use"
        );
    }
}

impl Watch {
    pub(super) fn tell(&self, told: &mut Exposition) {
        match self {
            Self::Own { host, not_after } => {
                told.gauge(NOT_AFTER, NOT_AFTER_HELP)
                    .add(&[("host", host)], not_after.load(Ordering::Relaxed));
            }
            Self::Acme(acme) => tell_orders(&acme.state(), told),
        }
    }
}

fn tell_orders(hosts: &[HostState], told: &mut Exposition) {
    let mut tell = |name, help, value: fn(&HostState) -> Option<u64>| {
        let mut family = told.gauge(name, help);
        for state in hosts {
            if let Some(value) = value(state) {
                family.add(&[("host", &state.host)], value);
            }
        }
    };
    tell(NOT_AFTER, NOT_AFTER_HELP, |host| {
        host.not_after.map(Timestamp::seconds)
    });
    tell(
        "mcp_guard_acme_failures",
        "Orders in a row that came to nothing; 0 once there is a certificate that need not be renewed.",
        |host| Some(host.failures.into()),
    );
    tell(
        "mcp_guard_acme_last_failure_timestamp_seconds",
        "When the last of these came to nothing.",
        |host| host.failed_at.map(Timestamp::seconds),
    );
    tell(
        "mcp_guard_acme_next_attempt_timestamp_seconds",
        "When the next order may be made, for renewal or because the last one failed.",
        |host| host.next_attempt.map(Timestamp::seconds),
    );
}

/// It is served all the same: clients decide.
fn say_expired(facts: &Facts, said: &mut Option<Instant>) {
    let is_due = said.is_none_or(|said| said.elapsed() >= WARN_OF_EXPIRY);
    if facts.not_after <= SystemTime::now() && is_due {
        *said = Some(Instant::now());
        tracing::error!(
            event = "certificate_expired",
            host = facts.names_for_people(),
            since = facts.expiry(),
            "an expired certificate is served"
        );
    }
}
