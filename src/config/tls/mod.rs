//! TLS of the guard's own: whether it is on, and where its certificates come from.

mod acme;
mod own;

use super::{ConfigError, RawConfig, Setting};
use crate::http::ExternalUrl;
use crate::tls::CertificateFiles;

/// Where certificates come from, and what is said over TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    pub source: CertificateSource,
    /// `max-age` of Strict-Transport-Security (RFC 6797 §6.1.1), in seconds.
    pub hsts: Option<u64>,
}

/// Where certificates come from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// From files that somebody else keeps fresh.
    Own(CertificateFiles),
    /// From a CA, for the names in the settings.
    Acme(Box<crate::acme::Settings>),
}

/// What means something only where the guard itself speaks TLS, besides all that is for a CA.
const NEED_TLS: [&str; 4] = ["tls-listen", "tls-cert-file", "tls-key-file", "hsts"];

/// Whether the guard speaks TLS.
pub(super) fn is_on(raw: &RawConfig, url: &ExternalUrl) -> Result<bool, ConfigError> {
    Ok(url.is_https() && !raw.is_on("no-auto-tls")?)
}

/// What was asked for, and what the operator should know of it. Reads the files of a certificate of
/// one's own, and touches no network.
pub(super) fn resolve(
    raw: &RawConfig,
    url: &ExternalUrl,
) -> Result<(Option<Tls>, Vec<String>), ConfigError> {
    if !is_on(raw, url)? {
        refuse_without_tls(raw, url)?;
        return Ok((None, Vec::new()));
    }
    let (source, warnings) = if let Some(files) = own::files(raw)? {
        acme::refuse_beside_own_files(raw)?;
        let warnings = own::warnings(raw, &files, url.host())?;
        (CertificateSource::Own(files), warnings)
    } else {
        let settings = Box::new(acme::settings(raw, url)?);
        (CertificateSource::Acme(settings), acme::warnings(raw)?)
    };
    let hsts = raw.value("hsts", max_age)?;
    Ok((Some(Tls { source, hsts }), warnings))
}

fn refuse_without_tls(raw: &RawConfig, url: &ExternalUrl) -> Result<(), ConfigError> {
    let setting = match given(raw, &NEED_TLS)? {
        None => given(raw, &acme::OPTIONS)?,
        found => found,
    };
    let Some(setting) = setting else {
        return Ok(());
    };
    Err(if url.is_https() {
        setting.refuse(
            "has no effect: with --no-auto-tls, TLS ends in front of the guard",
            "remove it, or --no-auto-tls",
        )
    } else {
        setting.refuse(
            "has no effect: --external-url is plain http",
            "make the external URL https, or remove it",
        )
    })
}

/// The first of these options that asks for something.
fn given<'r>(
    raw: &'r RawConfig,
    names: &[&'static str],
) -> Result<Option<&'r Setting>, ConfigError> {
    for &name in names {
        let Some(setting) = raw.setting(name) else {
            continue;
        };
        let is_switch = matches!(setting.option.kind, super::options::Kind::Switch);
        if !is_switch || raw.is_on(name)? {
            return Ok(Some(setting));
        }
    }
    Ok(None)
}

/// `off`, or seconds.
fn max_age(text: &str) -> Result<Option<u64>, String> {
    const MOST: u64 = 10 * 366 * 24 * 3600;
    if text == "off" {
        return Ok(None);
    }
    let seconds = text.parse().ok().filter(|seconds| *seconds <= MOST);
    seconds
        .map(Some)
        .ok_or_else(|| "write `off`, or seconds: `31536000` is a year".into())
}

#[cfg(test)]
mod tests;
