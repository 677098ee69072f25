//! What a certificate says of itself.

use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// What a certificate says of itself. The texts are whoever's that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// DNS names and addresses of its subjectAltName (RFC 5280 §4.2.1.6); nobody looks at others.
    pub names: Vec<String>,
    pub issuer: String,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Facts {
    /// `None` if it cannot be read.
    pub fn of(leaf: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(leaf).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map_or_else(Vec::new, |names| {
            names.value.general_names.iter().filter_map(name).collect()
        });
        Some(Self {
            names,
            issuer: parsed.issuer().to_string(),
            not_before: instant(parsed.validity().not_before),
            not_after: instant(parsed.validity().not_after),
        })
    }

    /// The names in one line, without anything that a terminal would act on.
    pub fn names_for_people(&self) -> String {
        if self.names.is_empty() {
            return "no name".into();
        }
        self.names.join(", ").escape_debug().to_string()
    }

    /// Its first moment, as HTTP writes dates.
    pub fn start(&self) -> String {
        httpdate::fmt_http_date(self.not_before)
    }

    /// Its last moment, as HTTP writes dates.
    pub fn expiry(&self) -> String {
        httpdate::fmt_http_date(self.not_after)
    }
}

/// Whether clients that come to `host` would find it in this certificate (RFC 6125).
pub fn covers(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let Ok(name) = ServerName::try_from(host) else {
        return false;
    };
    ParsedCertificate::try_from(leaf).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|ip| std::net::Ipv6Addr::from(ip).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Certificates may be dated beyond what HTTP's dates can say.
fn instant(time: ASN1Time) -> SystemTime {
    const MOST: u64 = 253_402_300_799;
    let seconds = u64::try_from(time.timestamp()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::super::testing::self_signed;
    use super::*;

    #[test]
    fn a_certificate_says_its_names_its_issuer_and_its_time() {
        let pair = self_signed("guard.test");
        let facts = Facts::of(pair.leaf().unwrap()).unwrap();
        assert_eq!(facts.names, ["guard.test"]);
        assert!(facts.issuer.starts_with("CN="), "{}", facts.issuer);
        assert!(facts.not_before < SystemTime::now() && SystemTime::now() < facts.not_after);
        assert!(facts.expiry().ends_with(" GMT"));
        assert!(Facts::of(&CertificateDer::from(vec![0; 9])).is_none());
    }

    #[test]
    fn a_host_is_covered_by_its_name_and_by_a_wildcard_over_it() {
        for (name, host, expected) in [
            ("guard.test", "guard.test", true),
            ("guard.test", "other.test", false),
            ("*.guard.test", "a.guard.test", true),
            ("*.guard.test", "a.b.guard.test", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("guard.test", "", false),
        ] {
            let pair = self_signed(name);
            assert_eq!(
                covers(pair.leaf().unwrap(), host),
                expected,
                "{name} {host}"
            );
        }
        let address = self_signed("127.0.0.1");
        assert_eq!(
            Facts::of(address.leaf().unwrap()).unwrap().names,
            ["127.0.0.1"]
        );
    }
}
