//! What the CA thinks about when to renew (RFC 9773).

use std::time::Duration;

use instant_acme::{Account, CertificateIdentifier, Error, Key, RenewalInfo};

use super::Acme;
use super::client::Transport;
use super::problem::Failure;
use super::record::CertificateRecord;
use super::schedule::{Chance, Window, ask_again};
use crate::clock::Timestamp;

impl Acme {
    /// The record with the CA's opinion in it; without one only when to ask again changes, and the
    /// plan made at the issue holds.
    pub(super) async fn ask(
        &self,
        host: &str,
        record: CertificateRecord,
        now: Timestamp,
    ) -> CertificateRecord {
        let (info, wait) = match self.renewal_info(&record).await {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::debug!(host, why = failure.what, "the CA has no opinion on renewal");
                let ask_at = record.life.ask_again(now);
                return CertificateRecord { ask_at, ..record };
            }
        };
        let planned = record.renew_at;
        CertificateRecord {
            renew_at: record
                .life
                .renewal_within(window(&info), planned, Chance::draw()),
            ask_at: ask_again(now, wait),
            is_replaceable: true,
            ..record
        }
    }

    /// With a key that signs nothing: the question is open to everybody (RFC 9773 §4.1), and an
    /// account is not to be made for it.
    async fn renewal_info(
        &self,
        record: &CertificateRecord,
    ) -> Result<(RenewalInfo, Duration), Failure> {
        let leaf = record.leaf().ok_or(Error::Str("certificate"))?;
        let identifier = CertificateIdentifier::try_from(&leaf)
            .map_err(|error| Failure::new(&error, "ask the CA"))?;
        let (_, key) = Key::generate_pkcs8()?;
        let transport = Transport::new(self.client.clone());
        let directory = self.settings.directory_url.to_string();
        let account = Account::builder_with_http(Box::new(transport))
            .from_parts(String::new(), key, directory)
            .await?;
        Ok(account.renewal_info(&identifier).await?)
    }
}

fn window(info: &RenewalInfo) -> Window {
    let instant = |seconds: i64| {
        Timestamp(
            u64::try_from(seconds)
                .unwrap_or_default()
                .saturating_mul(1000),
        )
    };
    Window {
        start: instant(info.suggested_window.start.unix_timestamp()),
        end: instant(info.suggested_window.end.unix_timestamp()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FakeCa, HOST, Setting, answer};
    use super::*;

    const DIRECTORY: &str = r#"{"newNonce":"BASE/n","newAccount":"BASE/a","newOrder":"BASE/o",
        "renewalInfo":"BASE/info"}"#;

    fn with_opinion(base: &str, path: &str) -> String {
        if path == "/directory" {
            return answer(200, "", &DIRECTORY.replace("BASE", base));
        }
        assert!(path.starts_with("/info/") && path.contains('.'), "{path}");
        let window = r#"{"suggestedWindow":{"start":"2020-01-01T00:00:00Z",
            "end":"2020-01-02T00:00:00Z"}}"#;
        answer(200, "retry-after: 21600\r\n", window)
    }

    #[tokio::test]
    async fn a_window_in_the_past_brings_the_renewal_forward() {
        let ca = FakeCa::start(with_opinion).await;
        let acme = Setting::new().acme(&ca.url);
        let record = acme.has_certificate().await;
        let now = acme.clock.now();
        let asked = acme.ask(HOST, record.clone(), now).await;
        assert_eq!(asked.renew_at, record.life.earliest());
        assert_eq!(asked.ask_at.since(now).as_secs().div_ceil(60), 360);
        assert!(asked.is_replaceable && !record.is_replaceable);
    }

    #[tokio::test]
    async fn without_an_opinion_the_plan_holds() {
        let silent = FakeCa::start(|_, _| answer(503, "", "")).await;
        let acme = Setting::new().acme(&silent.url);
        let record = acme.has_certificate().await;
        let now = acme.clock.now();
        let asked = acme.ask(HOST, record.clone(), now).await;
        assert_eq!(asked.renew_at, record.renew_at);
        assert_eq!(asked.ask_at.since(now), Duration::from_hours(6));
        assert!(!asked.is_replaceable);
    }
}
