//! `--tls-cert-file` and `--tls-key-file`.

use std::time::SystemTime;

use super::super::{ConfigError, RawConfig};
use crate::tls::{CertificateFiles, FilesError, covers};

/// The two files, if they are given. Not read yet.
pub(super) fn files(raw: &RawConfig) -> Result<Option<CertificateFiles>, ConfigError> {
    match (raw.setting("tls-cert-file"), raw.setting("tls-key-file")) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => Ok(Some(CertificateFiles {
            chain: chain.text().into(),
            key: key.text().into(),
        })),
        (Some(chain), None) => Err(chain.refuse(
            "is given without --tls-key-file",
            "give the private key of the certificate, too",
        )),
        (None, Some(key)) => Err(key.refuse(
            "is given without --tls-cert-file",
            "give the certificate with its chain, too",
        )),
    }
}

/// Refuses files that cannot be used. That a certificate has expired is no reason: the guard would be
/// down in place of being distrusted, and the file may be replaced any moment.
pub(super) fn warnings(
    raw: &RawConfig,
    files: &CertificateFiles,
    host: &str,
) -> Result<Vec<String>, ConfigError> {
    let loaded = files.load().map_err(|error| refuse(raw, &error))?;
    let mut warnings = Vec::new();
    let path = files.chain.display();
    if loaded.key_is_open_to_others {
        warnings.push(format!(
            "{}: all users of this machine may read it; `chmod o= ` it",
            files.key.display()
        ));
    }
    let facts = &loaded.facts;
    let now = SystemTime::now();
    if facts.not_after <= now {
        warnings.push(format!("{path}: expired on {}", facts.expiry()));
    }
    if facts.not_before > now {
        warnings.push(format!("{path}: not valid before {}", facts.start()));
    }
    if !loaded.pair.leaf().is_some_and(|leaf| covers(leaf, host)) {
        warnings.push(format!(
            "{path}: the certificate is for {}, and not for {host}, the host of --external-url",
            facts.names_for_people()
        ));
    }
    Ok(warnings)
}

fn refuse(raw: &RawConfig, error: &FilesError) -> ConfigError {
    let name = if error.is_of_key() {
        "tls-key-file"
    } else {
        "tls-cert-file"
    };
    let message = format!("cannot be used: {error}");
    match raw.setting(name) {
        Some(setting) => setting.refuse(message, error.hint()),
        None => ConfigError::refused(message).hint(error.hint()),
    }
}
