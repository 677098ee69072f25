//! The certificates in use. Looking one up takes no lock that anybody holds for long, and a new one
//! takes effect with the next handshake.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::ACME_TLS_ALPN;
use super::KeyPair;

type ByName = HashMap<String, Arc<CertifiedKey>>;

/// All certificates of the guard. Names are in lower case.
#[derive(Debug, Default)]
pub struct Certificates {
    by_name: ArcSwap<ByName>,
    /// Answers names that have none of their own, and clients that name nobody.
    fallback: ArcSwapOption<CertifiedKey>,
    /// For validations of TLS-ALPN-01 (RFC 8737) that are under way.
    challenges: ArcSwap<ByName>,
}

impl Certificates {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on `name` is answered with this certificate, and nobody else's is touched.
    pub fn set(&self, name: &str, pair: &KeyPair) {
        insert(&self.by_name, name, pair);
    }

    /// From now on this certificate answers whatever has none of its own.
    pub fn set_fallback(&self, pair: &KeyPair) {
        self.fallback.store(Some(pair.certified()));
    }

    /// Whether `name` has a certificate of its own.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.load().contains_key(name)
    }

    /// Proves control of `name` to a CA that asks by `acme-tls/1`.
    pub fn set_challenge(&self, name: &str, pair: &KeyPair) {
        insert(&self.challenges, name, pair);
    }

    /// The validation is over.
    pub fn remove_challenge(&self, name: &str) {
        self.challenges.rcu(|challenges| {
            let mut left = ByName::clone(challenges);
            left.remove(name);
            left
        });
    }

    fn find(&self, name: Option<&str>, is_challenge: bool) -> Option<Arc<CertifiedKey>> {
        // Names in a ClientHello may have any case (RFC 6066 §3 says nothing of it, DNS does).
        let name = name.map(str::to_ascii_lowercase);
        if is_challenge {
            return self.challenges.load().get(&name?).cloned();
        }
        let own = name.and_then(|name| self.by_name.load().get(&name).cloned());
        own.or_else(|| self.fallback.load_full())
    }
}

fn insert(certificates: &ArcSwap<ByName>, name: &str, pair: &KeyPair) {
    certificates.rcu(|certificates| {
        let mut more = ByName::clone(certificates);
        more.insert(name.to_ascii_lowercase(), pair.certified());
        more
    });
}

impl ResolvesServerCert for Certificates {
    /// `None` ends the handshake with an alert; it never causes an order (threat case A-150).
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_challenge = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS_ALPN));
        self.find(hello.server_name(), is_challenge)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_pair::testing::self_signed;
    use super::*;

    fn is(found: Option<&Arc<CertifiedKey>>, pair: &KeyPair) -> bool {
        found.is_some_and(|found| found.cert == pair.certified().cert)
    }

    #[test]
    fn a150_names_without_a_certificate_get_none_or_the_fallback() {
        let certificates = Certificates::default();
        let (own, other) = (self_signed("a.test"), self_signed("b.test"));
        certificates.set("A.test", &own);
        assert!(is(certificates.find(Some("a.TEST"), false).as_ref(), &own));
        assert!(certificates.find(Some("b.test"), false).is_none());
        assert!(certificates.find(None, false).is_none());
        assert!(certificates.has("a.test") && !certificates.has("b.test"));
        certificates.set_fallback(&other);
        assert!(!certificates.has("b.test"));
        assert!(is(certificates.find(Some("a.test"), false).as_ref(), &own));
        assert!(is(
            certificates.find(Some("x.test"), false).as_ref(),
            &other
        ));
        assert!(is(certificates.find(None, false).as_ref(), &other));
    }

    #[test]
    fn a149_a_challenge_is_answered_for_its_own_name_only_and_while_it_lasts() {
        let certificates = Certificates::default();
        let (own, proof) = (self_signed("a.test"), self_signed("a.test"));
        certificates.set("a.test", &own);
        certificates.set_fallback(&own);
        assert!(certificates.find(Some("a.test"), true).is_none());
        certificates.set_challenge("a.test", &proof);
        assert!(is(certificates.find(Some("a.test"), true).as_ref(), &proof));
        assert!(is(certificates.find(Some("a.test"), false).as_ref(), &own));
        assert!(certificates.find(Some("b.test"), true).is_none());
        assert!(certificates.find(None, true).is_none());
        certificates.remove_challenge("a.test");
        assert!(certificates.find(Some("a.test"), true).is_none());
    }
}
