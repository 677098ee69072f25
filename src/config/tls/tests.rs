use super::super::Config;
use super::*;
use crate::acme::{LETS_ENCRYPT, LETS_ENCRYPT_STAGING};
use crate::tls::testing::self_signed_pem;

const TOS: (&str, &str) = ("tls-accept-tos", "true");

type Pairs<'a> = [(&'a str, &'a str)];

fn config(url: &str, pairs: &Pairs<'_>) -> Result<Config, ConfigError> {
    let base = [
        ("external-url", url),
        ("password", "correct horse battery"),
        ("store", "memory:"),
    ];
    let pairs = base.into_iter().chain(pairs.iter().copied());
    Config::resolve(&RawConfig::from_pairs(pairs, ["sh"])?)
}

fn refused(url: &str, pairs: &Pairs<'_>) -> String {
    let Err(error) = config(url, pairs) else {
        panic!("not refused: {url} {pairs:?}");
    };
    assert_eq!(error.exit_code(), 78);
    format!("{error}\n{}", error.hint_text().expect("a hint"))
}

fn acme(url: &str, pairs: &Pairs<'_>) -> crate::acme::Settings {
    let pairs: Vec<_> = pairs.iter().copied().chain([TOS]).collect();
    match config(url, &pairs).unwrap().tls.unwrap().source {
        CertificateSource::Acme(settings) => *settings,
        CertificateSource::Own(files) => panic!("{files:?}"),
    }
}

#[test]
fn https_means_a_certificate_from_lets_encrypt_once_its_terms_are_accepted() {
    let said = refused("https://mcp.example.com", &[]);
    assert!(said.contains("https://letsencrypt.org/"), "{said}");
    assert!(said.contains("--tls-accept-tos"), "{said}");
    let settings = acme("https://mcp.example.com", &[]);
    assert_eq!(settings.directory_url.as_str(), LETS_ENCRYPT);
    assert_eq!(settings.hosts, ["mcp.example.com"]);
    let own = [("tls-directory-url", "https://ca.lan/dir")];
    let said = refused("https://mcp.example.com", &own);
    assert!(
        said.contains("`termsOfService` named at https://ca.lan/dir"),
        "{said}"
    );
}

#[test]
fn what_is_asked_of_the_ca_is_what_was_said() {
    let settings = acme(
        "https://a.example.com",
        &[
            ("tls-host", "A.example.com,b.example.com,a.example.com"),
            ("tls-email", "admin@example.com"),
            ("tls-profile", "shortlived"),
            ("tls-staging", "true"),
            ("tls-eab-kid", "kid-1"),
            ("tls-eab-hmac-key", "c2VjcmV0IQ"),
        ],
    );
    assert_eq!(settings.hosts, ["a.example.com", "b.example.com"]);
    assert_eq!(settings.email.as_deref(), Some("admin@example.com"));
    assert_eq!(settings.profile.as_deref(), Some("shortlived"));
    assert_eq!(settings.directory_url.as_str(), LETS_ENCRYPT_STAGING);
    assert!(settings.eab.is_some());
}

#[test]
fn names_that_no_public_ca_vouches_for_are_refused_before_it_is_asked() {
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "203.0.113.7",
        "guard",
        "guard.local",
        "guard.test",
        "my_guard.example.com",
    ] {
        let said = refused(&format!("https://{host}"), &[TOS]);
        assert!(said.contains("gets no certificate"), "{said}");
        assert!(said.contains("--tls-cert-file"), "{said}");
    }
    let own_ca = [("tls-directory-url", "https://127.0.0.1:14000/dir")];
    assert_eq!(
        acme("https://guard.test:8443", &own_ca).hosts,
        ["guard.test"]
    );
    let said = refused("https://127.0.0.1", &[TOS, own_ca[0]]);
    assert!(said.contains("is an address"), "{said}");
}

#[test]
fn contradictions_are_refused() {
    let host = "https://mcp.example.com";
    for (pairs, fault) in [
        (&[("tls-cert-file", "a")][..], "without --tls-key-file"),
        (&[("tls-key-file", "a")], "without --tls-cert-file"),
        (&[("tls-eab-kid", "a")], "without --tls-eab-hmac-key"),
        (&[("tls-eab-hmac-key", "YQ")], "without --tls-eab-kid"),
        (
            &[("tls-eab-kid", "a"), ("tls-eab-hmac-key", "canary+/")],
            "is not base64url",
        ),
        (
            &[
                ("tls-staging", "true"),
                ("tls-directory-url", "https://a.lan"),
            ],
            "name two CAs",
        ),
        (&[("tls-directory-url", "http://ca.lan")], "https URL"),
        (&[("tls-directory-url", "ca")], "cannot be `ca`"),
        (&[("tls-host", "other.example.com")], "lacks the host"),
        (&[("tls-host", "*.example.com")], "write a host name"),
        (&[("tls-host", "mcp.example.com:443/x")], "alone"),
        (&[("tls-email", "a@b.org,c@d.org")], "one address"),
        (&[("hsts", "1y")], "write `off`"),
        (&[("tls-listen", "443")], "write"),
        (
            &[("tls-listen", "127.0.0.1:80"), ("listen", "127.0.0.1:80")],
            "one address",
        ),
    ] {
        let pairs: Vec<_> = pairs.iter().copied().chain([TOS]).collect();
        let said = refused(host, &pairs);
        assert!(said.contains(fault), "{pairs:?}: {said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn options_of_tls_are_refused_where_the_guard_speaks_none() {
    for name in NEED_TLS {
        let pair = (name, "true");
        let said = refused("http://localhost:8080", &[pair]);
        assert!(said.starts_with(&format!("--{name}")), "{said}");
        let said = refused("https://mcp.example.com", &[pair, ("no-auto-tls", "true")]);
        assert!(said.contains("--no-auto-tls"), "{said}");
    }
    assert!(config("http://localhost:8080", &[("tls-staging", "false")]).is_ok());
}

#[test]
fn with_tls_two_ports_are_listened_on_and_the_one_for_http_is_not_insisted_on() {
    let listening = |pairs: &Pairs<'_>| {
        let pairs: Vec<_> = pairs.iter().copied().chain([TOS]).collect();
        config("https://mcp.example.com", &pairs).unwrap().listening
    };
    let texts = |addresses: &[crate::listener::Address]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    let default = listening(&[]);
    assert_eq!(texts(&default.secure), ["[::]:443"]);
    assert_eq!(texts(&default.if_possible), ["[::]:80"]);
    assert_eq!(texts(&default.addresses), [""; 0]);
    let given = listening(&[("tls-listen", "127.0.0.1:1"), ("listen", "127.0.0.1:2")]);
    assert_eq!(texts(&given.secure), ["127.0.0.1:1"]);
    assert_eq!(texts(&given.addresses), ["127.0.0.1:2"]);
    assert!(given.if_possible.is_empty());
}

#[test]
fn hsts_is_off_unless_it_is_asked_for() {
    let hsts = |pairs: &Pairs<'_>| {
        let pairs: Vec<_> = pairs.iter().copied().chain([TOS]).collect();
        config("https://mcp.example.com", &pairs)
            .unwrap()
            .tls
            .unwrap()
            .hsts
    };
    assert_eq!(hsts(&[]), None);
    assert_eq!(hsts(&[("hsts", "off")]), None);
    assert_eq!(hsts(&[("hsts", "31536000")]), Some(31_536_000));
}

#[test]
fn a_certificate_that_would_be_lost_with_the_process_is_worth_a_warning() {
    let warnings = config("https://mcp.example.com", &[TOS]).unwrap().warnings;
    let warned = warnings
        .iter()
        .any(|text| text.contains("a new certificate"));
    assert!(warned, "{warnings:?}");
}

#[test]
fn a_port_that_clients_do_not_come_to_is_worth_a_warning() {
    let warned = |url: &str, pairs: &Pairs<'_>| {
        let pairs: Vec<_> = pairs.iter().copied().chain([TOS]).collect();
        let warnings = config(url, &pairs).unwrap().warnings;
        warnings.iter().any(|text| text.contains("--tls-listen"))
    };
    assert!(warned("https://mcp.example.com:8443", &[]));
    assert!(!warned(
        "https://mcp.example.com:8443",
        &[("tls-listen", "[::]:8443")]
    ));
    assert!(!warned("https://mcp.example.com", &[]));
}

/// A folder with a certificate for that name.
fn folder(name: &str) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = self_signed_pem(name);
    let paths = ["chain.pem", "key.pem"].map(|file| folder.path().join(file));
    std::fs::write(&paths[0], chain).unwrap();
    std::fs::write(&paths[1], key).unwrap();
    let [chain, key] = paths.map(|path| path.to_str().unwrap().to_owned());
    (folder, chain, key)
}

fn own(url: &str, chain: &str, key: &str) -> Result<Config, ConfigError> {
    config(url, &[("tls-cert-file", chain), ("tls-key-file", key)])
}

#[test]
fn a_certificate_of_ones_own_needs_no_terms_and_may_be_for_any_name() {
    let (_folder, chain, key) = folder("guard.test");
    let resolved = own("https://guard.test:8443", &chain, &key).unwrap();
    assert!(matches!(
        resolved.tls.unwrap().source,
        CertificateSource::Own(_)
    ));
    let about_names = |warnings: &[String]| warnings.iter().any(|text| text.contains("is for"));
    assert!(!about_names(&resolved.warnings), "{:?}", resolved.warnings);
    let other = own("https://other.test", &chain, &key).unwrap().warnings;
    assert!(about_names(&other), "{other:?}");
}

#[test]
fn a148_a_certificate_that_has_expired_is_a_warning_and_starts() {
    let folder = tempfile::tempdir().unwrap();
    let signer = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["guard.test".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = parameters.self_signed(&signer).unwrap();
    let paths = ["chain.pem", "key.pem"].map(|file| folder.path().join(file));
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], signer.serialize_pem()).unwrap();
    let [chain, key] = paths.map(|path| path.to_str().unwrap().to_owned());
    let warnings = own("https://guard.test", &chain, &key).unwrap().warnings;
    let warned = warnings
        .iter()
        .any(|text| text.contains("expired on Wed, 01 Jan 2020"));
    assert!(warned, "{warnings:?}");
}

#[test]
fn what_is_wrong_with_a_certificate_of_ones_own_is_told_with_its_file() {
    let (folder, chain, key) = folder("guard.test");
    let (_other, _, foreign) = self::folder("guard.test");
    let gone = folder.path().join("gone.pem");
    let gone = gone.to_str().unwrap();
    for (chain, key, flag, fault) in [
        (gone, key.as_str(), "--tls-cert-file", gone),
        (chain.as_str(), gone, "--tls-key-file", gone),
        (&key, &key, "--tls-cert-file", "no certificate"),
        (&chain, &chain, "--tls-key-file", "no private key"),
        (&chain, &foreign, "--tls-key-file", "does not belong"),
    ] {
        let pairs = [("tls-cert-file", chain), ("tls-key-file", key)];
        let said = refused("https://guard.test", &pairs);
        assert!(said.starts_with(flag) && said.contains(fault), "{said}");
    }
    let both = [
        ("tls-cert-file", chain.as_str()),
        ("tls-key-file", &key),
        ("tls-email", "a@b.org"),
    ];
    let said = refused("https://guard.test", &both);
    assert!(said.starts_with("--tls-email has no effect"), "{said}");
}
