//! A certificate as the CA issued it: whether it is of use, and for how long.

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::server::ParsedCertificate;
use x509_parser::parse_x509_certificate;

use super::order::Issued;
use super::problem::Failure;
use super::record::{CertificateRecord, Records};
use super::schedule::{Chance, Life};
use crate::clock::Timestamp;
use crate::tls::KeyPair;

/// The record of what was issued, or why it is of no use.
pub(super) fn record(
    issued: &Issued,
    host: &str,
    records: &Records,
    now: Timestamp,
) -> Result<CertificateRecord, Failure> {
    let life = life(issued, host, now).map_err(|what| {
        Failure::new(
            &format!("the CA's certificate is of no use: {what}"),
            "check the clock, and ask the CA",
        )
    })?;
    let key = records.certificate_key(host);
    Ok(CertificateRecord {
        chain: issued.chain.clone(),
        sealed_key: records.seal(&key, issued.key.as_bytes()),
        life,
        renew_at: life.renewal(Chance::draw()).max(life.earliest()),
        ask_at: now,
        is_replaceable: false,
        proved_by: issued.kind,
    })
}

fn life(issued: &Issued, host: &str, now: Timestamp) -> Result<Life, String> {
    let pair = KeyPair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes())
        .map_err(|error| error.to_string())?;
    let leaf = pair.leaf().ok_or("it is empty")?;
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| error.to_string())?;
    verify_server_name(&parsed, &name).map_err(|error| error.to_string())?;
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|error| error.to_string())?;
    let validity = parsed.validity();
    let life = Life {
        // CAs date certificates back; a clock of ours that is slow makes them start later.
        start: timestamp(validity.not_before.timestamp()).max(now),
        end: timestamp(validity.not_after.timestamp()),
    };
    if life.end <= now {
        return Err("it has expired".into());
    }
    Ok(life)
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp(
        u64::try_from(seconds)
            .unwrap_or_default()
            .saturating_mul(1000),
    )
}

impl CertificateRecord {
    /// Fit for handshakes. `key` is where it lies. What is wrong with it is in the log.
    pub(super) fn pair(&self, records: &Records, key: &str) -> Option<KeyPair> {
        let secret = records.open(key, &self.sealed_key)?;
        let pair = KeyPair::from_pem(self.chain.as_bytes(), &secret);
        if let Err(error) = &pair {
            tracing::error!(key, %error, "a stored certificate is of no use");
        }
        pair.ok()
    }

    /// The certificate itself, without its chain.
    pub(super) fn leaf(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zeroize::Zeroizing;

    use super::*;
    use crate::acme::challenge::Kind;
    use crate::clock::Clock;
    use crate::crypto::Keyring;
    use crate::store::Store;
    use crate::tls::testing::self_signed_pem;

    fn issued(host: &str) -> Issued {
        let (chain, key) = self_signed_pem(host);
        Issued {
            chain,
            key: Zeroizing::new(key),
            kind: Kind::Http01,
        }
    }

    #[test]
    fn a_certificate_that_is_of_no_use_is_not_taken() {
        let now = Clock::system().now();
        assert!(life(&issued("a.test"), "a.test", now).is_ok());
        let error = life(&issued("b.test"), "a.test", now).unwrap_err();
        assert!(error.contains("not valid for name"), "{error}");
        let foreign_key = Issued {
            key: issued("a.test").key,
            ..issued("a.test")
        };
        let error = life(&foreign_key, "a.test", now).unwrap_err();
        assert!(error.contains("does not belong"), "{error}");
        // Those made here end with the year 4095.
        let late = Timestamp(70_000_000_000_000);
        let error = life(&issued("a.test"), "a.test", late).unwrap_err();
        assert!(error.contains("expired"), "{error}");
    }

    #[tokio::test]
    async fn a147_the_key_is_sealed_for_its_place_and_opens_nowhere_else() {
        let clock = Clock::system();
        let store = Store::memory(clock.clone());
        let records = Records::new(store, Keyring::ephemeral(), "https://ca.test/directory");
        let issued = issued("a.test");
        let made = record(&issued, "a.test", &records, clock.now()).unwrap();
        assert!(made.renew_at >= clock.now().after(Duration::from_hours(6)));
        let key = records.certificate_key("a.test");
        assert!(made.pair(&records, &key).is_some());
        assert!(
            made.pair(&records, &records.certificate_key("b.test"))
                .is_none()
        );
        records.put_certificate("a.test", &made).await.unwrap();
        let stored = records.store.get(&key).await.unwrap().unwrap();
        let stored = String::from_utf8(stored.value).unwrap();
        assert!(stored.contains("BEGIN CERTIFICATE") && !stored.contains("PRIVATE"));
    }
}
