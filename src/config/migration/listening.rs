//! Where it listens, and whether it speaks TLS.

use std::net::IpAddr;

use super::{Draft, Value, plain};
use crate::config::ConfigError;
use crate::config::migration::asked::Stated;

/// Whose certificate it speaks TLS with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Off,
    Own,
    Acme,
}

const OF_TLS: &[&str] = &[
    "tls-listen",
    "tls-host",
    "tls-directory-url",
    "tls-accept-tos",
    "tls-cert-file",
    "tls-key-file",
];

const OF_ACME: &[&str] = &["tls-host", "tls-directory-url", "tls-accept-tos"];

pub(super) fn carry(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let tls = tls(draft)?;
    // Said by `tls`, where it says something.
    draft.done.push("no-auto-tls");
    addresses(draft, tls)?;
    if tls == Tls::Off {
        draft.leave_out(OF_TLS, "TLS ends in front of the guard, or there is none");
        return Ok(());
    }
    if tls == Tls::Own {
        draft.leave_out(OF_ACME, "the certificate is in --tls-cert-file");
    } else {
        names(draft)?;
    }
    Ok(())
}

/// As it decides.
fn tls(draft: &mut Draft<'_>) -> Result<Tls, ConfigError> {
    let asked = draft.asked;
    let has = |name| asked.get(name).is_some();
    let files = (has("tls-cert-file"), has("tls-key-file"));
    let is_local = draft.url.authority() == "localhost";
    let is_automatic = !asked.is_on("no-auto-tls");
    let is_public = draft.url.is_https() && !is_local;
    let tls = match files {
        (true, true) => Tls::Own,
        (false, false) if is_automatic && (has("tls-host") || is_public) => Tls::Acme,
        (false, false) => Tls::Off,
        _ => {
            return Err(ConfigError::refused(
                "--tls-cert-file and --tls-key-file need each other, there as here",
            )
            .hint("give both"));
        }
    };
    if tls == Tls::Acme && !asked.is_on("tls-accept-tos") {
        return Err(ConfigError::refused(
            "mcp-auth-proxy would not start with this: --external-url asks for a certificate, and \
             --tls-accept-tos is missing",
        )
        .hint("add --tls-accept-tos, or --no-auto-tls where TLS ends in front of it"));
    }
    if tls != Tls::Off && !draft.url.is_https() {
        return Err(
            ConfigError::refused("TLS is on, and --external-url is http")
                .hint("make the external URL https: here it says whether there is TLS"),
        );
    }
    if tls == Tls::Off && draft.url.is_https() {
        draft.set("no-auto-tls", Value::On);
    }
    Ok(tls)
}

fn addresses(draft: &mut Draft<'_>, tls: Tls) -> Result<(), ConfigError> {
    draft.done.push("listen");
    if let Some(stated) = draft.asked.get("listen") {
        draft.set("listen", Value::Text(address(stated)?));
    } else if tls == Tls::Off {
        by_default(draft);
    }
    if tls != Tls::Off
        && let Some(stated) = draft.asked.get("tls-listen")
    {
        draft.done.push("tls-listen");
        draft.set("tls-listen", Value::Text(address(stated)?));
    }
    if tls == Tls::Off && !draft.url.is_https() && !draft.url.is_loopback() {
        draft.set("insecure-http", Value::On);
        draft.warn(
            "--insecure-http is there because --external-url is plain http: passwords and tokens \
             cross the network in the clear; better give the guard an https URL",
        );
    }
    Ok(())
}

/// It listens on port 80, whatever the external URL says. Whoever leads requests there goes on to.
fn by_default(draft: &mut Draft<'_>) {
    if draft.url.is_https() || draft.url.port() != 80 {
        draft.note(
            "--listen is port 80 on all addresses, as it was; give the address that your proxy, \
             or whatever else is in front, connects to: `--listen 127.0.0.1:80`",
        );
        draft.set("listen", Value::Text("[::]:80".to_owned()));
    } else if draft.url.is_loopback() {
        draft.note("the guard listens on loopback alone; there it was every address");
    }
}

/// For `:80`, where Go listens on all addresses; names are not for listening on.
fn address(stated: &Stated) -> Result<String, ConfigError> {
    let text = plain(stated)?;
    let hint = "write an address and a port: `0.0.0.0:80`, `[::]:80`, `127.0.0.1:8080`";
    let no_address = || stated.refuse("is no address that the guard can listen on", hint);
    let (host, port) = text.rsplit_once(':').ok_or_else(no_address)?;
    let port: u16 = port.parse().map_err(|_| no_address())?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match (host, bare.unwrap_or(host).parse::<IpAddr>()) {
        ("", _) => Ok(format!("[::]:{port}")),
        ("localhost", _) => Ok(format!("127.0.0.1:{port}")),
        (_, Ok(ip)) => Ok(std::net::SocketAddr::new(ip, port).to_string()),
        _ => Err(no_address()),
    }
}

/// Here the external URL's host is always among the certificate's.
fn names(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    draft.done.push("tls-host");
    let Some(stated) = draft.asked.get("tls-host") else {
        return Ok(());
    };
    let own = draft.url.host().to_owned();
    let host = plain(stated)?;
    if host != own {
        draft.note(format!(
            "--tls-host has {own} beside {host}: clients use no other name"
        ));
        draft.set("tls-host", Value::List(vec![own, host.to_owned()]));
    }
    Ok(())
}
