//! An address to listen on, as people write it: `127.0.0.1:8080`, `[::]:443`, `unix:/run/x.sock`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a listening socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Why a text is no address; says what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address to listen on; write {hint}")]
pub struct AddressError {
    text: String,
    hint: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(error(text, "unix:/path/to/socket"))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| error(text, &hint(text)))
    }
}

fn error(text: &str, hint: &str) -> AddressError {
    AddressError {
        text: text.to_owned(),
        hint: hint.to_owned(),
    }
}

fn hint(text: &str) -> String {
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    match text.rsplit_once(':') {
        None if is_port(text) => format!("127.0.0.1:{text}, or [::]:{text} for every interface"),
        Some(("", port)) if is_port(port) => format!("[::]{text} for every interface"),
        Some(("localhost", port)) if is_port(port) => format!("127.0.0.1:{port}"),
        Some(("*", port)) if is_port(port) => format!("[::]:{port}"),
        _ => "ADDRESS:PORT like 127.0.0.1:8080 or [::1]:8080, or unix:/path/to/socket".to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_shown() {
        for text in [
            "127.0.0.1:8080",
            "[::]:443",
            "[::1]:0",
            "unix:/run/guard.sock",
            "unix:here.sock",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, hint) in [
            ("8080", "write 127.0.0.1:8080"),
            (":8080", "write [::]:8080"),
            ("localhost:8080", "write 127.0.0.1:8080"),
            ("*:80", "write [::]:80"),
            ("unix:", "write unix:/path"),
            ("127.0.0.1", "write ADDRESS:PORT"),
            ("::1:8080", "write ADDRESS:PORT"),
            ("example.com:80", "write ADDRESS:PORT"),
            ("127.0.0.1:99999", "write ADDRESS:PORT"),
            ("", "write ADDRESS:PORT"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
