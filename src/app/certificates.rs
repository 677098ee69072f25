//! The guard's certificates: there before anybody can ask for one, and kept fresh.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::HeaderValue;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Error;
use crate::acme::Acme;
use crate::clock::Clock;
use crate::config::{CertificateSource, Config};
use crate::crypto::Keyring;
use crate::http::client::HttpClient;
use crate::listener::TlsSettings;
use crate::routes::PlainHttp;
use crate::store::Store;
use crate::tls::{Certificates, Facts, FileCertificate, KeyPair, Look, server_config};

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
    Files(Box<FileCertificate>),
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
                say_loaded(own.facts());
                Keeper::Files(Box::new(own))
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

async fn look_at_files(mut own: Box<FileCertificate>, look_now: Arc<Notify>) {
    let mut said = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = look_now.notified() => {}
        }
        // A file system may take its time.
        let looked = tokio::task::spawn_blocking(move || (own.look(), own)).await;
        let Ok((look, back)) = looked else { return };
        own = back;
        match look {
            Look::Unchanged => {}
            Look::Replaced => say_loaded(own.facts()),
            Look::Refused(error) => tracing::error!(event = "certificate_refused", %error,
                hint = error.hint(), "the certificate's files changed; the old one stays in use"),
        }
        say_expired(own.facts(), &mut said);
    }
}

fn say_loaded(facts: &Facts) {
    tracing::info!(
        event = "certificate_loaded",
        names = facts.names_for_people(),
        until = facts.expiry(),
        "a certificate is in use"
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
