//! Certificates from a CA (ACME, RFC 8555): from whom, and for which names.

use std::net::IpAddr;

use url::Url;

use super::super::{ConfigError, RawConfig, value};
use super::given;
use crate::acme::{Eab, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Settings};
use crate::http::ExternalUrl;
use crate::http::client::is_confidential;

const LETS_ENCRYPT_TERMS: &str = "https://letsencrypt.org/repository/";

pub(super) const OPTIONS: [&str; 8] = [
    "tls-accept-tos",
    "tls-host",
    "tls-email",
    "tls-directory-url",
    "tls-staging",
    "tls-profile",
    "tls-eab-kid",
    "tls-eab-hmac-key",
];

/// Top-level domains that are nobody's, so that no public CA vouches for names in them (RFC 6761,
/// RFC 6762, RFC 7686, RFC 8375, ICANN's `internal`).
const NOBODYS: [&str; 9] = [
    "arpa",
    "example",
    "home",
    "internal",
    "invalid",
    "lan",
    "local",
    "localhost",
    "test",
];

pub(super) fn refuse_beside_own_files(raw: &RawConfig) -> Result<(), ConfigError> {
    match given(raw, &OPTIONS)? {
        None => Ok(()),
        Some(setting) => Err(setting.refuse(
            "has no effect on the certificate of --tls-cert-file",
            "remove it; or remove --tls-cert-file and --tls-key-file to have a CA asked for one",
        )),
    }
}

pub(super) fn settings(raw: &RawConfig, url: &ExternalUrl) -> Result<Settings, ConfigError> {
    let directory_url = directory_url(raw)?;
    let hosts = hosts(raw, url, is_public(&directory_url))?;
    refuse_without_consent(raw, &directory_url)?;
    let mut settings = Settings::new(hosts, directory_url);
    settings.email = optional(raw, "tls-email", email)?;
    settings.profile = optional(raw, "tls-profile", profile)?;
    settings.eab = eab(raw)?;
    Ok(settings)
}

/// A certificate that is lost with the process is ordered again, and CAs count.
pub(super) fn warnings(raw: &RawConfig) -> Result<Vec<String>, ConfigError> {
    let is_kept = raw.value("store", |text| Ok(text != "memory:"))?;
    if is_kept {
        return Ok(Vec::new());
    }
    Ok(vec![
        "--store is `memory:`: every start orders a new certificate, and Let's Encrypt issues five \
         a week for one name"
            .to_owned(),
    ])
}

fn directory_url(raw: &RawConfig) -> Result<Url, ConfigError> {
    let known = |text| Url::parse(text).map_err(|error| ConfigError::refused(error.to_string()));
    let staging = raw.is_on("tls-staging")?;
    match raw.setting("tls-directory-url") {
        Some(setting) if staging => Err(setting.refuse(
            "and --tls-staging name two CAs",
            "keep one of the two: --tls-staging is Let's Encrypt's",
        )),
        Some(setting) => {
            let text = setting.text();
            directory(text).map_err(|hint| setting.misread(text, hint))
        }
        None if staging => known(LETS_ENCRYPT_STAGING),
        None => known(LETS_ENCRYPT),
    }
}

fn directory(text: &str) -> Result<Url, String> {
    const SHAPE: &str = "write the URL of the CA's directory: `https://ca.example.com/directory`";
    let url = Url::parse(text).map_err(|_| SHAPE)?;
    if !is_confidential(&url) {
        return Err("write an https URL (http only to loopback)".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(SHAPE.into());
    }
    Ok(url)
}

fn is_public(directory: &Url) -> bool {
    [LETS_ENCRYPT, LETS_ENCRYPT_STAGING].contains(&directory.as_str())
}

fn refuse_without_consent(raw: &RawConfig, directory: &Url) -> Result<(), ConfigError> {
    if raw.is_on("tls-accept-tos")? {
        return Ok(());
    }
    let (ca, terms) = if is_public(directory) {
        ("Let's Encrypt".to_owned(), LETS_ENCRYPT_TERMS.to_owned())
    } else {
        let ca = directory.host_str().unwrap_or_default().to_owned();
        (ca, format!("the `termsOfService` named at {directory}"))
    };
    let what = format!(
        "--external-url is https, and {ca} issues certificates only to those who agree to its terms"
    );
    Err(ConfigError::refused(what).hint(format!(
        "read {terms} and pass --tls-accept-tos; or give a certificate of your own \
         (--tls-cert-file, --tls-key-file); or pass --no-auto-tls where TLS ends in front of the guard"
    )))
}

/// Without the external URL's own host no client would get in.
fn hosts(raw: &RawConfig, url: &ExternalUrl, public: bool) -> Result<Vec<String>, ConfigError> {
    let own = url.host();
    let Some(setting) = raw.setting("tls-host") else {
        return match host(own, public) {
            Ok(host) => Ok(vec![host]),
            Err(reason) => Err(no_certificate_for(raw, &reason)),
        };
    };
    let mut hosts: Vec<String> = Vec::new();
    for text in setting.elements() {
        let host = host(text, public).map_err(|hint| setting.misread(text, hint))?;
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if hosts.iter().any(|host| host == own) {
        return Ok(hosts);
    }
    let hint = format!("add `{own}`: clients use no other name");
    Err(setting.refuse("lacks the host of --external-url", hint))
}

fn no_certificate_for(raw: &RawConfig, reason: &str) -> ConfigError {
    let hint = "give a certificate of your own (--tls-cert-file, --tls-key-file), name a CA that \
                issues one (--tls-directory-url), or pass --no-auto-tls where TLS ends in front of \
                the guard";
    match raw.setting("external-url") {
        Some(setting) => setting.refuse(format_args!("gets no certificate: {reason}"), hint),
        None => ConfigError::refused(reason).hint(hint),
    }
}

/// A DNS name in lower case. The error says why it is none that a CA vouches for.
fn host(text: &str, public: bool) -> Result<String, String> {
    let url = ExternalUrl::parse(&format!("https://{text}")).map_err(|_| "write a host name")?;
    let host = url.host().to_owned();
    if host.parse::<IpAddr>().is_ok() {
        return Err(format!(
            "{host} is an address, and certificates are for names"
        ));
    }
    if url.origin() != url.as_str() || url.authority() != host {
        return Err("write the host name alone, without scheme, port and path".into());
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_nobodys = last == host || NOBODYS.contains(&last) || host.contains('_');
    if public && is_nobodys {
        return Err(format!("{host} is no name of the public DNS"));
    }
    Ok(host)
}

fn optional<T>(
    raw: &RawConfig,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ConfigError> {
    let Some(setting) = raw.setting(name) else {
        return Ok(None);
    };
    let text = setting.text();
    parse(text)
        .map(Some)
        .map_err(|hint| setting.misread(text, hint))
}

/// One address, and nothing that would make the CA's `mailto:` another or several (RFC 8555 §7.3).
fn email(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b",;:?&%<>\"".contains(&byte);
    let parts = text.split_once('@');
    let whole = parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    if whole && text.matches('@').count() == 1 && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err("write one address: `admin@example.com`".into())
}

fn profile(text: &str) -> Result<String, String> {
    value::scope(text).map_err(|_| "write the profile's name as the CA has it".into())
}

fn eab(raw: &RawConfig) -> Result<Option<Eab>, ConfigError> {
    match (raw.setting("tls-eab-kid"), raw.secret("tls-eab-hmac-key")) {
        (None, None) => Ok(None),
        (Some(kid), None) => Err(kid.refuse(
            "is given without --tls-eab-hmac-key",
            "give --tls-eab-hmac-key-file, with the key from the CA in that file",
        )),
        (None, Some((setting, _))) => Err(setting.refuse(
            "is given without --tls-eab-kid",
            "give the key's id, which the CA gave out with it",
        )),
        (Some(kid), Some((setting, key))) => Eab::parse(kid.text().to_owned(), key)
            .map(Some)
            .map_err(|_| {
                let hint = "copy it as the CA gives it out: letters, digits, `-` and `_`";
                setting.refuse("is not base64url", hint)
            }),
    }
}
