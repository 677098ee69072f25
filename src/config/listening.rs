//! Under which address the world knows the guard, and where it listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ConfigError, RawConfig, tls, value};
use crate::http::ExternalUrl;
use crate::listener::Address;

/// Where the guard listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// For plain HTTP. Not to be able to listen on one of these ends the start.
    pub addresses: Vec<Address>,
    /// For plain HTTP too, but not everywhere to be had: `[::1]` beside 127.0.0.1, because browsers
    /// and Node.js try it first for `localhost`; port 80 beside TLS, because it only redirects and
    /// certificates can be obtained without it.
    pub if_possible: Vec<Address>,
    /// For TLS; empty where the guard speaks none. Not to be able to listen on one of these ends the
    /// start.
    pub secure: Vec<Address>,
    /// For metrics and nothing that is guarded. Not to be able to listen on one of these ends the
    /// start.
    pub admin: Vec<Address>,
    /// Whether connections begin with a PROXY protocol header, and come from trusted proxies alone.
    pub proxy_protocol: bool,
}

impl Listening {
    /// The part of a configuration that a health check needs.
    pub fn resolve(raw: &RawConfig) -> Result<(ExternalUrl, Self), ConfigError> {
        let url = external_url(raw)?;
        let given = raw.list("listen", value::address)?;
        let secure = if tls::is_on(raw, &url)? {
            raw.list("tls-listen", value::address)?
        } else {
            Vec::new()
        };
        if let Some(address) = secure.iter().find(|address| given.contains(address)) {
            let what = format!("--listen and --tls-listen have one address: {address}");
            return Err(ConfigError::refused(what).hint("TLS and plain HTTP need one each"));
        }
        let admin = raw.list("admin-listen", value::address)?;
        let plain = if given.is_empty() {
            Self::by_default(&url, !secure.is_empty())
        } else {
            Self::on(given)
        };
        refuse_shared(&admin, plain.plain().chain(&secure))?;
        let listening = Self {
            secure,
            admin,
            proxy_protocol: proxy_protocol(raw)?,
            ..plain
        };
        Ok((url, listening))
    }

    fn by_default(url: &ExternalUrl, has_tls: bool) -> Self {
        let tcp = |ip: IpAddr, port| Address::Tcp(SocketAddr::new(ip, port));
        if has_tls {
            return Self {
                if_possible: vec![tcp(Ipv6Addr::UNSPECIFIED.into(), 80)],
                ..Self::default()
            };
        }
        if url.is_https() {
            // TLS ends in front of us, on this machine unless --listen says otherwise.
            return Self::on(vec![tcp(Ipv4Addr::LOCALHOST.into(), 8080)]);
        }
        if !url.is_loopback() {
            // --insecure-http: the operator asked to be reached in the clear.
            return Self::on(vec![tcp(Ipv6Addr::UNSPECIFIED.into(), url.port())]);
        }
        match url.host().parse() {
            Ok(ip) => Self::on(vec![tcp(ip, url.port())]),
            Err(_) => Self {
                if_possible: vec![tcp(Ipv6Addr::LOCALHOST.into(), url.port())],
                ..Self::on(vec![tcp(Ipv4Addr::LOCALHOST.into(), url.port())])
            },
        }
    }

    fn on(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            ..Self::default()
        }
    }

    /// Those for plain HTTP.
    pub fn plain(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().chain(&self.if_possible)
    }

    /// An address that other machines may reach.
    fn exposed(&self) -> Option<&Address> {
        self.plain().find(|address| is_exposed(address))
    }
}

fn is_exposed(address: &Address) -> bool {
    matches!(address, Address::Tcp(tcp) if !tcp.ip().is_loopback())
}

/// Metrics are for whom clients are not.
fn refuse_shared<'a>(
    admin: &[Address],
    mut public: impl Iterator<Item = &'a Address>,
) -> Result<(), ConfigError> {
    // The system chooses another port each time.
    let is_open = |address: &Address| matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
    let shared = public.find(|address| admin.contains(address) && !is_open(address));
    shared.map_or(Ok(()), |address| {
        let what = format!("--admin-listen has an address that clients come to: {address}");
        Err(ConfigError::refused(what).hint("metrics need an address of their own"))
    })
}

fn external_url(raw: &RawConfig) -> Result<ExternalUrl, ConfigError> {
    let Some(setting) = raw.setting("external-url") else {
        return Err(ConfigError::refused("--external-url is missing").hint(
            "give the address that clients will use: `--external-url http://localhost:8080` to \
             try it here, `--external-url https://mcp.example.com` for others",
        ));
    };
    // The text may hold a password, so only the error's own words are repeated.
    ExternalUrl::parse(setting.text()).map_err(|error| {
        let text = error.to_string();
        let (what, hint) = text
            .split_once("; ")
            .unwrap_or((&text, "write it like `https://mcp.example.com`"));
        setting.refuse(format_args!("cannot be used: {what}"), hint)
    })
}

/// Refuses what would send passwords and tokens over the network in the clear.
pub(super) fn refuse_exposure(raw: &RawConfig, url: &ExternalUrl) -> Result<(), ConfigError> {
    if !url.is_https() && !url.is_loopback() && !raw.is_on("insecure-http")? {
        return Err(ConfigError::refused(format!(
            "--external-url is plain http, and {} is not this machine alone: passwords and \
             tokens would cross the network in the clear",
            url.host()
        ))
        .hint("use an https URL, or pass --insecure-http on a network that you trust"));
    }
    Ok(())
}

/// `--proxy-protocol`, of which nothing would come where no proxy is trusted.
fn proxy_protocol(raw: &RawConfig) -> Result<bool, ConfigError> {
    let is_on = raw.is_on("proxy-protocol")?;
    if is_on && raw.list("trusted-proxies", value::network)?.is_empty() {
        return Err(ConfigError::refused(
            "--proxy-protocol is on, but --trusted-proxies names nobody who may connect",
        )
        .hint("name the proxies' addresses: `--trusted-proxies 10.0.0.0/24`"));
    }
    Ok(is_on)
}

/// What the operator should know about where the guard is reachable.
pub(super) fn warnings(
    url: &ExternalUrl,
    listening: &Listening,
    has_trusted_proxies: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(address) = listening.admin.iter().find(|address| is_exposed(address)) {
        warnings.push(format!(
            "--admin-listen {address} may be reached from other machines: whoever does sees the \
             guard's figures, and nobody's name"
        ));
    }
    if !url.is_https() && !url.is_loopback() {
        warnings
            .push("--insecure-http: passwords and tokens cross the network in the clear".into());
    }
    if !listening.secure.is_empty() {
        // What is said in the clear is a redirect.
        warnings.extend(port_nobody_comes_to(url, &listening.secure));
        return warnings;
    }
    if let Some(address) = listening.exposed() {
        if url.is_https() && !has_trusted_proxies {
            warnings.push(format!(
                "listening on {address} in the clear, for more than this machine: let only your \
                 TLS proxy reach it, and name that in --trusted-proxies"
            ));
        }
        if url.is_loopback() {
            warnings.push(format!(
                "the external URL is loopback, but {address} may be reached from other machines"
            ));
        }
    }
    warnings
}

/// The path of the server's endpoint stands behind the external URL. Who writes it there too has given
/// the address of the endpoint.
pub(super) fn path_twice(url: &ExternalUrl, mcp_path: &str) -> Option<String> {
    if !url.prefix().ends_with(mcp_path) {
        return None;
    }
    let without = url.as_str().strip_suffix(mcp_path)?;
    Some(format!(
        "clients come to {}: {mcp_path} is added to --external-url, so leave it out there \
         (`--external-url {without}`) unless you mean it twice",
        url.join(mcp_path)
    ))
}

/// Clients come to the port of the external URL. Something may forward them.
fn port_nobody_comes_to(url: &ExternalUrl, secure: &[Address]) -> Option<String> {
    let fits = |address: &Address| match address {
        Address::Tcp(tcp) => tcp.port() == url.port(),
        Address::Unix(_) => true,
    };
    let [first, ..] = secure else { return None };
    (!secure.iter().any(fits)).then(|| {
        format!(
            "clients come to port {}, and the guard listens for TLS on {first}: forward the one to \
             the other, or give --tls-listen",
            url.port()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let raw = RawConfig::from_pairs(pairs.iter().copied(), []).unwrap();
        let (_, listening) = Listening::resolve(&raw).unwrap();
        listening.plain().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_address_follows_from_the_external_url() {
        for (url, addresses) in [
            (
                "http://localhost:8080",
                &["127.0.0.1:8080", "[::1]:8080"][..],
            ),
            ("http://localhost", &["127.0.0.1:80", "[::1]:80"]),
            ("http://127.0.0.1:9000", &["127.0.0.1:9000"]),
            ("http://[::1]:9000", &["[::1]:9000"]),
            ("https://mcp.example.com", &["[::]:80"]),
            ("http://intranet:9000", &["[::]:9000"]),
        ] {
            assert_eq!(listening(&[("external-url", url)]), addresses, "{url}");
        }
        let behind_a_proxy = [
            ("external-url", "https://mcp.example.com"),
            ("no-auto-tls", "true"),
        ];
        assert_eq!(listening(&behind_a_proxy), ["127.0.0.1:8080"]);
    }

    #[test]
    fn addresses_that_are_given_are_the_only_ones() {
        let given = [
            ("external-url", "http://localhost:8080"),
            ("listen", "0.0.0.0:1,unix:/run/g.sock"),
        ];
        assert_eq!(listening(&given), ["0.0.0.0:1", "unix:/run/g.sock"]);
    }

    #[test]
    fn a154_a_password_in_the_external_url_is_not_repeated() {
        let raw = RawConfig::from_pairs([("external-url", "https://u:canary@x.org")], []).unwrap();
        let error = Listening::resolve(&raw).unwrap_err();
        assert!(!format!("{error} {:?}", error.hint_text()).contains("canary"));
    }

    #[test]
    fn a156_metrics_have_an_address_of_their_own_and_a_warning_where_others_may_come() {
        let resolved = |admin: &'static str| {
            let pairs = [
                ("external-url", "http://localhost:8080"),
                ("admin-listen", admin),
            ];
            let raw = RawConfig::from_pairs(pairs, []).unwrap();
            let (url, listening) = Listening::resolve(&raw)?;
            Ok::<_, ConfigError>(warnings(&url, &listening, false))
        };
        for (admin, expected) in [
            ("127.0.0.1:9464", 0),
            ("unix:/run/metrics.sock", 0),
            ("[::]:9464", 1),
            ("127.0.0.1:9464,10.0.0.7:9464", 1),
        ] {
            assert_eq!(resolved(admin).unwrap().len(), expected, "{admin}");
        }
        let error = resolved("127.0.0.1:8080").unwrap_err().to_string();
        assert!(error.contains("--admin-listen"), "{error}");
        assert_eq!(
            listening(&[("external-url", "http://localhost:1")]).len(),
            2
        );
    }

    #[test]
    fn an_external_url_that_has_the_path_already_is_worth_a_warning() {
        let warned = |url: &str, path| path_twice(&ExternalUrl::parse(url).unwrap(), path);
        for (url, path, endpoint, instead) in [
            (
                "https://x.org/mcp",
                "/mcp",
                "https://x.org/mcp/mcp",
                "https://x.org`",
            ),
            (
                "https://x.org/mcp/",
                "/mcp",
                "https://x.org/mcp/mcp",
                "https://x.org`",
            ),
            (
                "https://x.org/a/mcp",
                "/mcp",
                "https://x.org/a/mcp/mcp",
                "https://x.org/a`",
            ),
            (
                "https://x.org/b/c",
                "/b/c",
                "https://x.org/b/c/b/c",
                "https://x.org`",
            ),
        ] {
            let warning = warned(url, path).unwrap();
            assert!(warning.contains(&format!("to {endpoint}:")), "{warning}");
            assert!(
                warning.contains(&format!("--external-url {instead}")),
                "{warning}"
            );
        }
        for (url, path) in [
            ("https://x.org", "/mcp"),
            ("https://mcp", "/mcp"),
            ("https://x.org/team", "/mcp"),
            ("https://x.org/team-mcp", "/mcp"),
            ("https://x.org/mcp/team", "/mcp"),
            ("https://x.org/mcp", "/"),
            ("https://x.org", "/"),
        ] {
            assert_eq!(warned(url, path), None, "{url}");
        }
    }

    #[test]
    fn the_proxy_protocol_needs_a_proxy() {
        let resolved = |pairs: &[(&'static str, &'static str)]| {
            proxy_protocol(&RawConfig::from_pairs(pairs.iter().copied(), []).unwrap())
        };
        let on = ("proxy-protocol", "true");
        assert!(resolved(&[on, ("trusted-proxies", "10.0.0.0/8")]).unwrap());
        let error = resolved(&[on]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("--trusted-proxies"));
        assert!(!resolved(&[]).unwrap());
    }

    #[test]
    fn an_exposed_address_is_worth_a_warning() {
        let warned = |url: &str, listen: &str, proxies| {
            let pairs = [
                ("external-url", url),
                ("listen", listen),
                ("no-auto-tls", "true"),
            ];
            let raw = RawConfig::from_pairs(pairs, []).unwrap();
            let (url, listening) = Listening::resolve(&raw).unwrap();
            warnings(&url, &listening, proxies).len()
        };
        assert_eq!(warned("https://x.org", "127.0.0.1:1", false), 0);
        assert_eq!(warned("https://x.org", "unix:/a", false), 0);
        assert_eq!(warned("https://x.org", "0.0.0.0:1", false), 1);
        assert_eq!(warned("https://x.org", "0.0.0.0:1", true), 0);
        assert_eq!(warned("http://localhost", "0.0.0.0:1", true), 1);
        assert_eq!(warned("http://lan", "127.0.0.1:1", false), 1);
    }
}
