//! A server behind a URL: where it is, and what it is told.

use url::Url;

use super::{MCP_PATH, fields};
use crate::config::raw::{Server, Source};
use crate::config::{ConfigError, RawConfig, value};
use crate::http::canonical;
use crate::http::client::is_confidential;
use crate::upstream::http::Settings;

/// Paths that are the guard's own, below the external URL. What is below the last two is, too.
const OURS: &[&str] = &[
    "/authorize",
    "/token",
    "/register",
    "/revoke",
    "/introspect",
    "/healthz",
    "/readyz",
    "/.auth",
    "/.well-known",
];

pub(super) fn settings(
    raw: &RawConfig,
    text: &str,
    source: &Source,
    extra_roots: Option<&[u8]>,
) -> Result<Settings, ConfigError> {
    // The text may hold a password, so it is not repeated.
    let place = Server::Url(text.to_owned()).locate(source);
    let url = endpoint(text)
        .map_err(|hint| ConfigError::refused(format!("{place} cannot be used")).hint(hint))?;
    let bearer_token = raw.secret("proxy-bearer-token");
    let headers = fields::set(raw)?;
    let header_mapping = fields::mapping(raw)?;
    fields::refuse_two_sources(raw, &headers, &header_mapping)?;
    Ok(Settings {
        url,
        bearer_token: bearer_token.map(|(_, token)| token.clone()),
        headers,
        identity_headers: raw.is_on("identity-headers")?,
        header_mapping,
        identity_jwt: raw.is_on("identity-jwt")?,
        extra_roots: extra_roots.map(<[u8]>::to_vec),
    })
}

/// The MCP endpoint. Its path is the public one as well, so it must be one that gets in at the door
/// and that nothing else answers.
fn endpoint(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|_| "write a whole URL: `http://127.0.0.1:3000/mcp`")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("write an http or https URL: `http://127.0.0.1:3000/mcp`".into());
    }
    if !value::is_bare(&url) {
        return Err(
            "write it without user name, password, query and fragment; the server's credential \
             goes into --proxy-bearer-token or --proxy-headers"
                .into(),
        );
    }
    if url.path() == "/" {
        url.set_path(MCP_PATH);
    }
    let path = url.path();
    if !canonical::is_canonical(path) {
        return Err(
            "its path must be plain: no empty segment, no `;`, nothing encoded without need".into(),
        );
    }
    if is_ours(path) {
        return Err(format!(
            "{path} is a path of the guard's own; serve MCP at another, such as /mcp"
        ));
    }
    Ok(url)
}

fn is_ours(path: &str) -> bool {
    OURS.iter()
        .filter_map(|ours| path.strip_prefix(ours))
        .any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Private networks are plain more often than not, but it should be known what crosses them.
pub(super) fn warning(settings: &Settings) -> Option<String> {
    if is_confidential(&settings.url) {
        return None;
    }
    let crossing = if settings.bearer_token.is_some() || !settings.headers.is_empty() {
        "the credential for the server"
    } else if settings.identity_headers
        || settings.identity_jwt
        || !settings.header_mapping.is_empty()
    {
        "who is calling"
    } else {
        return None;
    };
    Some(format!(
        "{} is plain http: {crossing} crosses the network in the clear, and whoever can reach the \
         server may say the same",
        settings.url.origin().ascii_serialization()
    ))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::Surroundings;

    fn read(
        pairs: &[(&'static str, &'static str)],
        text: &'static str,
    ) -> Result<Settings, ConfigError> {
        let raw = RawConfig::from_pairs(pairs.iter().copied(), [])?;
        settings(&raw, text, &Source::Flag, None)
    }

    #[test]
    fn the_path_is_mcp_where_there_is_none() {
        for (text, url) in [
            ("http://a.test", "http://a.test/mcp"),
            ("https://a.test:8443/", "https://a.test:8443/mcp"),
            ("http://a.test/api/v1", "http://a.test/api/v1"),
            ("http://a.test/sse", "http://a.test/sse"),
            ("http://a.test/tokens", "http://a.test/tokens"),
        ] {
            assert_eq!(read(&[], text).unwrap().url.as_str(), url);
        }
    }

    #[test]
    fn an_address_that_cannot_be_mirrored_is_refused_and_not_repeated() {
        for text in [
            "ftp://canary.test",
            "https://user:canary@a.test",
            "https://canary@a.test",
            "https://a.test/mcp?key=canary",
            "https://a.test/mcp#canary",
            "https://a.test//canary",
            "https://a.test/canary;x",
            "https://",
            "https://a.test/mcp%20canary%2f",
        ] {
            let error = read(&[], text).unwrap_err();
            assert_eq!(error.to_string(), "UPSTREAM_URL cannot be used", "{text}");
            assert!(!error.hint_text().unwrap().contains("canary"), "{text}");
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn the_guards_own_paths_are_not_to_be_had() {
        for path in [
            "/authorize",
            "/token",
            "/token/",
            "/register",
            "/revoke",
            "/.auth/x",
            "/.well-known/x",
            "/healthz",
            "/readyz",
        ] {
            let error = endpoint(&format!("http://a.test{path}")).unwrap_err();
            assert!(error.contains("the guard's own"), "{path}: {error}");
        }
    }

    #[test]
    fn identity_headers_are_on_and_the_assertion_is_off_by_default() {
        let settings = read(&[], "http://a.test").unwrap();
        assert!(settings.identity_headers && !settings.identity_jwt);
        assert!(settings.bearer_token.is_none() && settings.headers.is_empty());
        let off = read(&[("identity-headers", "false")], "http://a.test").unwrap();
        assert!(!off.identity_headers);
        let jwt = read(&[("identity-jwt", "true")], "http://a.test").unwrap();
        assert!(jwt.identity_jwt);
    }

    #[test]
    fn a154_the_servers_credentials_are_read_and_not_shown() {
        let pairs = [
            ("proxy-bearer-token", "canary-1"),
            ("proxy-headers", "X-Key:canary-2"),
        ];
        let settings = read(&pairs, "https://a.test").unwrap();
        let token = settings.bearer_token.as_ref().unwrap();
        assert_eq!(token.expose_secret(), "canary-1");
        assert_eq!(settings.headers[0].1, "canary-2");
        assert!(!format!("{settings:?}").contains("canary"), "{settings:?}");
    }

    #[test]
    fn what_crosses_a_network_in_the_clear_is_worth_a_warning() {
        let warned = |pairs: &[(&'static str, &'static str)], text| {
            warning(&read(pairs, text).unwrap()).unwrap_or_default()
        };
        let quiet = ("identity-headers", "false");
        let token = ("proxy-bearer-token", "t");
        assert!(warned(&[], "http://10.0.0.7").contains("who is calling"));
        assert!(warned(&[quiet, token], "http://10.0.0.7").contains("credential"));
        for (pairs, text) in [
            (&[quiet][..], "http://10.0.0.7"),
            (&[token], "http://127.0.0.1:1"),
            (&[token], "https://a.test"),
        ] {
            assert_eq!(warned(pairs, text), "", "{text}");
        }
    }

    #[test]
    fn the_url_of_a_file_is_located_there() {
        let raw = RawConfig::new(Surroundings::empty());
        let source = Source::File {
            path: "g.toml".into(),
            line: 3,
        };
        let error = settings(&raw, "ftp://x", &source, None).unwrap_err();
        assert_eq!(error.to_string(), "g.toml:3: `url` cannot be used");
    }
}
