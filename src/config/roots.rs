//! `--tls-ca-file`: whom to trust besides the system's roots.

use super::{ConfigError, RawConfig};
use crate::http::trust;

/// The file's text, in which every certificate can be a root.
pub(super) fn extra(raw: &RawConfig) -> Result<Option<Vec<u8>>, ConfigError> {
    const HINT: &str = "give the path of a PEM file with `-----BEGIN CERTIFICATE-----` in it";
    let Some(setting) = raw.setting("tls-ca-file") else {
        return Ok(None);
    };
    let path = setting.text();
    let file = raw.surroundings().read(path.as_ref()).map_err(|error| {
        setting.refuse(format_args!("cannot be read from {path}: {error}"), HINT)
    })?;
    let pem = file.text.into_bytes();
    trust::certificates(&pem)
        .map_err(|error| setting.refuse(format_args!("cannot be used: {path}: {error}"), HINT))?;
    Ok(Some(pem))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Invocation, Surroundings, from_args};

    /// Made by hand: a root on P-256, valid for a century.
    const ROOT: &str = include_str!("roots_test.pem");

    fn read(arguments: &[&str]) -> Result<Option<Vec<u8>>, ConfigError> {
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let files = [
            ("root.pem", ROOT),
            ("none.pem", "x"),
            ("broken.pem", broken),
        ];
        let arguments = arguments.iter().map(OsString::from);
        match from_args(arguments, Surroundings::fake(&[], &files))? {
            Invocation::Serve(raw) => extra(&raw),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn roots_are_read_whole() {
        assert_eq!(read(&[]).unwrap(), None);
        let read = read(&["--tls-ca-file", "root.pem"]).unwrap();
        assert_eq!(read.unwrap(), ROOT.as_bytes());
    }

    #[test]
    fn a_file_without_a_root_is_named() {
        for name in ["gone.pem", "none.pem", "broken.pem"] {
            let error = read(&["--tls-ca-file", name]).unwrap_err();
            let said = error.to_string();
            assert!(said.starts_with("--tls-ca-file cannot be "), "{said}");
            assert!(said.contains(name) && error.hint_text().is_some(), "{said}");
        }
    }
}
