//! One host's certificate: looked after for as long as the guard runs.
//!
//! Whoever finds it due takes the lease, looks again, writes down that an attempt is made and when
//! the next may be, and only then orders. What came of it is in the store for every guard to find.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::certificate;
use super::challenge::{Kind, Prover};
use super::client::Transport;
use super::lease::Lease;
use super::order::{Issued, Wish, obtain};
use super::problem::Failure;
use super::record::{AttemptsRecord, CertificateRecord, Records};
use super::schedule::{Chance, pause};
use super::{Acme, report};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// The wall clock may jump: it is looked at this often.
const TICK: Duration = Duration::from_secs(1);
/// The store is looked at this often even if nothing is due: another guard may have been at work.
const LOOK: Duration = Duration::from_hours(1);
/// While a certificate is due and nobody orders it.
const LOOK_WHILE_DUE: Duration = Duration::from_mins(1);
/// While another guard orders it.
const LOOK_WHILE_ORDERED: Duration = Duration::from_secs(2);
/// The store does not answer.
const LOOK_AFTER_TROUBLE: Duration = Duration::from_secs(30);
/// More than an order's two waits.
const LONGEST_ATTEMPT: Duration = Duration::from_mins(12);
/// However often the store loses what was issued, there is no next order before this (A-146).
const BETWEEN_ORDERS: Duration = Duration::from_hours(6);

impl Acme {
    /// Never ends.
    pub(super) async fn look_after(&self, host: &str) {
        loop {
            let until = match self.attend(host).await {
                Ok(until) => until,
                Err(error) => {
                    tracing::error!(host, %error, "a certificate cannot be looked after");
                    self.clock.now().after(LOOK_AFTER_TROUBLE)
                }
            };
            self.wait(until).await;
        }
    }

    async fn wait(&self, until: Timestamp) {
        loop {
            let left = until.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(TICK)).await;
        }
    }

    /// Does what is due, and says when to look again.
    pub(super) async fn attend(&self, host: &str) -> Result<Timestamp, StoreError> {
        let now = self.clock.now();
        let found = self.records.certificate(host).await?;
        if let Some((record, _)) = &found {
            self.serve(host, record, &self.records.certificate_key(host));
        }
        self.warn_of_expiry(host, now);
        let fresh = found.filter(|(record, _)| self.is_fresh(host, record, now));
        if let Some((record, version)) = fresh {
            let record = if record.ask_at <= now {
                let record = self.ask(host, record, now).await;
                self.records
                    .update_certificate(host, &record, version)
                    .await?;
                record
            } else {
                record
            };
            self.note(host, |host| {
                host.state.next_attempt = Some(record.renew_at);
                host.state.last_error = None;
                host.state.failures = 0;
            });
            return Ok(record.renew_at.min(record.ask_at).min(now.after(LOOK)));
        }
        let key = self.records.lease_key(host);
        let attempts = self.records.attempts(host).await?;
        if let Some(attempts) = attempts.filter(|attempts| now < attempts.next_at) {
            let is_ordered = Lease::is_held(&self.records.store, &key).await?;
            self.note(host, |host| {
                host.state.next_attempt = Some(attempts.next_at);
                host.state.last_error.clone_from(&attempts.error);
                host.state.failures = attempts.failures.saturating_sub(is_ordered.into());
                host.state.failed_at = attempts.failed_at;
            });
            let look = if is_ordered {
                LOOK_WHILE_ORDERED
            } else {
                LOOK_WHILE_DUE
            };
            return Ok(attempts.next_at.min(now.after(look)));
        }
        let Some(mut lease) = Lease::take(&self.records.store, &self.clock, key).await? else {
            return Ok(now.after(LOOK_WHILE_ORDERED));
        };
        let outcome = self.attempt(host, &mut lease).await;
        lease.give_up().await;
        // What it came to is in the store.
        outcome.map(|()| self.clock.now())
    }

    /// Whether nothing is to be done. One whose key is lost is as good as none.
    fn is_fresh(&self, host: &str, record: &CertificateRecord, now: Timestamp) -> bool {
        now < record.renew_at && self.is_served(host, record)
    }

    /// Orders, if that is still to be done now that the lease is ours.
    async fn attempt(&self, host: &str, lease: &mut Lease) -> Result<(), StoreError> {
        let now = self.clock.now();
        let current = self.records.certificate(host).await?;
        let current = current.map(|(record, _)| record);
        let is_fresh = |record: &CertificateRecord| self.is_fresh(host, record, now);
        if let Some(record) = &current {
            self.serve(host, record, &self.records.certificate_key(host));
            if is_fresh(record) {
                return Ok(());
            }
        }
        let earlier = self.records.attempts(host).await?;
        if earlier
            .as_ref()
            .is_some_and(|earlier| now < earlier.next_at)
        {
            return Ok(());
        }
        let mut attempt = next_attempt(earlier, current.as_ref(), now);
        self.records.put_attempts(host, &attempt).await?;
        let outcome = tokio::select! {
            outcome = timeout(LONGEST_ATTEMPT, self.obtain(host, &attempt, current)) => {
                outcome.unwrap_or_else(|_| Err(Failure::new(
                    "the CA took too long", "it will be tried again")))
            }
            () = lease.keep() => Err(Failure::new(
                "another guard took over", "see what it says")),
        };
        match outcome {
            Ok(issued) => self.succeed(host, &issued).await,
            Err(failure) => {
                let peace = self.clock.now().after(failure.wait);
                attempt.next_at = attempt.next_at.max(peace);
                attempt.error = Some(failure.text());
                attempt.failed_at = Some(self.clock.now());
                if failure.is_unproved {
                    attempt.next_kind = attempt.next_kind.other();
                }
                report::failed(host, &failure, &attempt);
                self.records.put_attempts(host, &attempt).await
            }
        }
    }

    async fn succeed(&self, host: &str, record: &CertificateRecord) -> Result<(), StoreError> {
        self.serve(host, record, &self.records.certificate_key(host));
        report::issued(host, record);
        self.records.put_certificate(host, record).await?;
        let pace = self.clock.now().after(BETWEEN_ORDERS);
        let attempts = AttemptsRecord {
            failures: 0,
            next_at: record.renew_at.min(pace),
            next_kind: record.proved_by,
            error: None,
            failed_at: None,
        };
        self.records.put_attempts(host, &attempts).await
    }

    /// A certificate from the CA; after a failure only once a rehearsal went well.
    async fn obtain(
        &self,
        host: &str,
        attempt: &AttemptsRecord,
        current: Option<CertificateRecord>,
    ) -> Result<CertificateRecord, Failure> {
        let is_repeated = attempt.failures > 1;
        // A CA that does not like what is replaced must not get its way for ever.
        let replaced = current.filter(|record| record.is_replaceable && !is_repeated);
        let replaced = replaced.and_then(|record| record.leaf());
        let rehearsal = self.settings.rehearsal_url.as_ref();
        if let Some(stage) = rehearsal.filter(|_| is_repeated) {
            let records = self.records.of(stage.as_str());
            let wish = self.wish(host, attempt.next_kind, None);
            let rehearsed = self.order(stage.as_str(), &records, &wish).await;
            rehearsed.map_err(|failure| failure.at(&format!("rehearsal with {stage}")))?;
        }
        let directory = self.settings.directory_url.as_str();
        let wish = self.wish(host, attempt.next_kind, replaced);
        let issued = self.order(directory, &self.records, &wish).await?;
        certificate::record(&issued, host, &self.records, self.clock.now())
    }

    fn wish<'a>(
        &'a self,
        host: &'a str,
        kind: Kind,
        replaces: Option<rustls_pki_types::CertificateDer<'static>>,
    ) -> Wish<'a> {
        Wish {
            host,
            profile: self.settings.profile.as_deref(),
            replaces,
            kind,
        }
    }

    async fn order(
        &self,
        directory: &str,
        records: &Records,
        wish: &Wish<'_>,
    ) -> Result<Issued, Failure> {
        let transport = Transport::new(self.client.clone());
        let prover = Prover {
            certificates: std::sync::Arc::clone(&self.certificates),
            records: records.clone(),
            clock: self.clock.clone(),
        };
        let opened = self
            .accounts
            .open(&self.settings, directory, records, &transport);
        let outcome = match opened.await {
            Ok(account) => obtain(&account, wish, &prover).await,
            Err(failure) => Err(failure),
        };
        if outcome
            .as_ref()
            .is_err_and(|failure| failure.is_account_gone)
        {
            self.accounts.forget(&self.settings, records).await;
        }
        outcome.map_err(|failure| failure.no_sooner(transport.wait()))
    }
}

/// What is written down before an order: if it kills the guard, the next one waits.
fn next_attempt(
    earlier: Option<AttemptsRecord>,
    current: Option<&CertificateRecord>,
    now: Timestamp,
) -> AttemptsRecord {
    let failures = earlier.as_ref().map_or(0, |earlier| earlier.failures);
    let failures = failures.saturating_add(1);
    let proved = current.map_or(Kind::TlsAlpn01, |record| record.proved_by);
    AttemptsRecord {
        failures,
        next_at: now.after(pause(failures, Chance::draw())),
        next_kind: earlier.as_ref().map_or(proved, |earlier| earlier.next_kind),
        failed_at: earlier.as_ref().and_then(|earlier| earlier.failed_at),
        error: earlier.and_then(|earlier| earlier.error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FakeCa, HOST, Setting, answer};
    use super::*;
    use crate::crypto::Keyring;
    use crate::tls::Certificates;

    const DAY: Duration = Duration::from_hours(24);

    fn busy(_: &str, _: &str) -> String {
        let limit = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;
        answer(429, "retry-after: 36000\r\n", limit)
    }

    #[tokio::test]
    async fn a146_a_limit_of_the_cas_is_waited_for_across_restarts() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        let acme = setting.acme(&ca.url);
        acme.attend_until_it_waits().await;
        let made = acme.attempts_made().await.unwrap();
        let wait = made.next_at.since(setting.clock.now());
        assert!(wait > Duration::from_hours(9), "{wait:?}");
        assert!(made.error.unwrap().contains("too many"));
        setting.clock.advance(Duration::from_hours(9));
        let again = setting.acme(&ca.url);
        again.attend_until_it_waits().await;
        assert_eq!(again.attempts_made().await.unwrap().failures, 1);
        setting.clock.advance(Duration::from_hours(1));
        again.attend_until_it_waits().await;
        assert_eq!(again.attempts_made().await.unwrap().failures, 2);
    }

    #[tokio::test]
    async fn a146_failures_follow_the_schedule_and_are_shown() {
        let ca = FakeCa::start(|_, _| answer(500, "", "oh\x07no")).await;
        let setting = Setting::new();
        let acme = setting.acme(&ca.url);
        for (failures, minutes) in (1..).zip([1, 2, 2, 5, 10]) {
            let before = setting.clock.now();
            acme.attend_until_it_waits().await;
            let made = acme.attempts_made().await.unwrap();
            assert_eq!(made.failures, failures);
            let pause = made.next_at.since(before).as_secs();
            assert!((minutes * 60..minutes * 67).contains(&pause), "{pause}");
            setting.clock.advance(Duration::from_secs(minutes * 67));
        }
        let state = acme.state().remove(0);
        assert_eq!(state.host, HOST);
        assert!(state.last_error.unwrap().contains("status 500"));
        assert!(state.not_after.is_none() && state.next_attempt.is_some());
        assert_eq!(state.failures, 5);
        let failed_at = state.failed_at.unwrap();
        assert!(setting.clock.now().since(failed_at) < Duration::from_mins(12));
    }

    #[tokio::test]
    async fn a147_a_stored_certificate_serves_at_once_and_nothing_is_ordered() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        let record = setting.acme(&ca.url).has_certificate().await;
        let acme = setting.acme(&ca.url);
        acme.load().await;
        assert!(setting.certificates.has(HOST));
        acme.attend_until_it_waits().await;
        assert!(acme.attempts_made().await.is_none());
        let state = acme.state().remove(0);
        assert_eq!(state.not_after, Some(record.life.end));
        assert_eq!(state.next_attempt, Some(record.renew_at));
    }

    #[tokio::test]
    async fn a148_an_old_certificate_serves_past_its_end() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        setting.acme(&ca.url).has_certificate().await;
        setting.clock.advance(91 * DAY);
        let acme = setting.acme(&ca.url);
        acme.load().await;
        acme.attend_until_it_waits().await;
        assert!(setting.certificates.has(HOST));
        let state = acme.state().remove(0);
        assert!(state.not_after.unwrap() < setting.clock.now());
        assert!(state.last_error.is_some());
    }

    #[tokio::test]
    async fn until_another_ca_has_issued_the_old_ones_certificate_serves() {
        let (old, new) = (FakeCa::start(busy).await, FakeCa::start(busy).await);
        let setting = Setting::new();
        setting.acme(&old.url).has_certificate().await;
        let acme = setting.acme(&new.url);
        acme.load().await;
        assert!(setting.certificates.has(HOST));
        acme.attend_until_it_waits().await;
        assert_eq!(acme.attempts_made().await.unwrap().failures, 1);
    }

    #[tokio::test]
    async fn a147_a_key_that_another_keyring_sealed_is_as_good_as_none() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        setting.acme(&ca.url).has_certificate().await;
        let setting = Setting {
            keyring: Keyring::ephemeral(),
            certificates: Certificates::new(),
            ..setting
        };
        let acme = setting.acme(&ca.url);
        acme.load().await;
        assert!(!setting.certificates.has(HOST));
        acme.attend_until_it_waits().await;
        assert_eq!(acme.attempts_made().await.unwrap().failures, 1);
    }

    #[tokio::test]
    async fn a149_only_tokens_of_ours_are_answered() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        let acme = setting.acme(&ca.url);
        let token = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
        assert_eq!(acme.key_authorization(token).await, None);
        let now = setting.clock.now();
        acme.records
            .put_challenge(token, "proof", now)
            .await
            .unwrap();
        assert_eq!(
            acme.key_authorization(token).await.as_deref(),
            Some("proof")
        );
        assert_eq!(acme.key_authorization("../challenge/x").await, None);
        setting.clock.advance(Duration::from_hours(1));
        assert_eq!(acme.key_authorization(token).await, None);
    }

    #[tokio::test]
    async fn r20_whoever_holds_the_lease_is_waited_for() {
        let ca = FakeCa::start(busy).await;
        let setting = Setting::new();
        let acme = setting.acme(&ca.url);
        let key = acme.records.lease_key(HOST);
        let other = Lease::take(&setting.store, &setting.clock, key).await;
        let _other = other.unwrap().unwrap();
        acme.attend_until_it_waits().await;
        assert!(acme.attempts_made().await.is_none());
        // It crashed.
        setting.clock.advance(Duration::from_mins(1));
        acme.attend_until_it_waits().await;
        assert_eq!(acme.attempts_made().await.unwrap().failures, 1);
    }
}
