//! From what was asked for to what it means.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::options::{self, Default};
use super::{
    Config, ConfigError, Given, Limits, Listening, RawConfig, Setting, StoreSettings, listening,
    roots, server_name, sign_in, tls, value, wrapped,
};
use crate::grant::{Lifetimes, ResourceUri};
use crate::http::ExternalUrl;
use crate::oauth::{self, RedirectPattern, RegistrationPolicy};
use crate::telemetry;
use crate::upstream::Upstream;

const REGISTRATION_OFF: &str = "--registration is `off`: no new client can register; those that \
                                are registered already go on";

impl Config {
    /// Judges everything that was asked for. Reads the users file, the roots and the certificate, and
    /// looks for the wrapped server's program; changes nothing.
    pub fn resolve(raw: &RawConfig) -> Result<Self, ConfigError> {
        let (external_url, listening) = Listening::resolve(raw)?;
        listening::refuse_exposure(raw, &external_url)?;
        let (tls, about_tls) = tls::resolve(raw, &external_url)?;
        let extra_roots = roots::extra(raw)?;
        let shutdown_grace = raw.duration("shutdown-grace")?;
        let upstream = wrapped::upstream(raw, shutdown_grace, extra_roots.as_deref())?;
        let wanted = sign_in::Wanted::by(&upstream);
        let identity = sign_in::settings(raw, &external_url, &wanted)?;
        let mcp_path = wrapped::mcp_path(&upstream).to_owned();
        let trusted_proxies = raw.list("trusted-proxies", value::network)?;
        let mut warnings = raw.warnings().to_vec();
        let proxied = !trusted_proxies.is_empty();
        warnings.extend(sign_in::warnings(raw, &identity)?);
        warnings.extend(wrapped::warnings(&upstream));
        let resource = ResourceUri(external_url.join(&mcp_path));
        let oauth = oauth_settings(raw, &external_url, resource, server_name::of(&upstream))?;
        if matches!(oauth.registration, RegistrationPolicy::Off) {
            warnings.push(REGISTRATION_OFF.to_owned());
        }
        warnings.extend(listening::warnings(&external_url, &listening, proxied));
        warnings.extend(listening::path_twice(&external_url, &mcp_path));
        warnings.extend(about_tls);
        Ok(Self {
            tls,
            limits: limits(raw)?,
            shutdown_grace,
            trusted_proxies,
            allowed_origins: raw.list("allowed-origins", value::origin)?,
            welcome: sign_in::summary(raw, &identity),
            open_to_anybody: sign_in::open_to_anybody(&identity),
            identity,
            extra_roots,
            lifetimes: lifetimes(raw)?,
            oauth,
            upstream,
            mcp_path,
            timeouts: wrapped::timeouts(raw)?,
            http_streaming_only: raw.is_on("http-streaming-only")?,
            store: store(raw, &external_url)?,
            log: log(raw)?,
            warnings,
            external_url,
            listening,
        })
    }

    /// The URL that people give to their clients.
    pub fn mcp_url(&self) -> &str {
        &self.oauth.resource.0
    }

    /// The address of the wrapped server, if it has one.
    pub fn upstream_url(&self) -> Option<&str> {
        match &self.upstream {
            Upstream::Command(_) => None,
            Upstream::Url(settings) => Some(settings.url.as_str()),
        }
    }
}

fn limits(raw: &RawConfig) -> Result<Limits, ConfigError> {
    Ok(Limits {
        body_size: raw.value("max-body-size", value::size)?,
        connections: raw.value("max-connections", value::count)?,
        connections_per_address: raw.value("max-connections-per-address", value::count)?,
        streams_per_user: raw.value("max-streams-per-user", value::count)?,
        requests_per_user: raw.value("max-requests-per-user", |text| {
            value::count(text).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
        })?,
    })
}

fn lifetimes(raw: &RawConfig) -> Result<Lifetimes, ConfigError> {
    Ok(Lifetimes {
        // RFC 6749 §4.1.2: a maximum of ten minutes is recommended.
        code: raw.time_up_to("code-ttl", Duration::from_mins(10))?,
        access_token: raw.time("access-token-ttl")?,
        refresh_token: raw.time("refresh-token-ttl")?,
        grant: raw.time("grant-ttl")?,
        refresh_grace: raw.duration_up_to("refresh-grace", Duration::from_mins(10))?,
    })
}

fn oauth_settings(
    raw: &RawConfig,
    external_url: &ExternalUrl,
    resource: ResourceUri,
    server_name: String,
) -> Result<oauth::Settings, ConfigError> {
    Ok(oauth::Settings {
        external_url: external_url.clone(),
        resource,
        server_name,
        registration: registration(raw)?,
        allowed_redirect_uris: raw.list("allowed-redirect-uris", |text| {
            if !text.contains(':') {
                return Err("write whole URIs: `https://app.example.com/*`".into());
            }
            Ok(RedirectPattern(text.to_owned()))
        })?,
    })
}

fn registration(raw: &RawConfig) -> Result<RegistrationPolicy, ConfigError> {
    let policy = raw.value("registration", |text| Ok(text.to_owned()))?;
    let token = raw.secret("registration-token");
    match (policy.as_str(), token) {
        ("token", Some((_, token))) => Ok(RegistrationPolicy::Token(token.clone())),
        ("token", None) => Err(ConfigError::refused(
            "--registration is `token`, but there is no --registration-token",
        )
        .hint("give --registration-token-file, with the token in that file")),
        (_, Some((setting, _))) => Err(setting.refuse(
            format_args!("has no effect while --registration is `{policy}`"),
            "add `--registration token`, or remove it",
        )),
        ("off", None) => Ok(RegistrationPolicy::Off),
        _ => Ok(RegistrationPolicy::Open),
    }
}

fn store(raw: &RawConfig, external_url: &ExternalUrl) -> Result<StoreSettings, ConfigError> {
    let in_memory = raw.value("store", |text| match text {
        "sqlite:" => Ok(false),
        "memory:" => Ok(true),
        _ => Err("write `sqlite:` or `memory:`; other stores are not built in yet".into()),
    })?;
    if in_memory {
        return Ok(StoreSettings::Memory);
    }
    data_path(raw, external_url).map(StoreSettings::Sqlite)
}

fn log(raw: &RawConfig) -> Result<telemetry::Settings, ConfigError> {
    let unknown = |error: telemetry::UnknownName| error.to_string();
    Ok(telemetry::Settings {
        level: raw.value("log-level", |text| text.parse().map_err(unknown))?,
        format: raw.value("log-format", |text| text.parse().map_err(unknown))?,
    })
}

fn data_path(raw: &RawConfig, external_url: &ExternalUrl) -> Result<PathBuf, ConfigError> {
    if let Some(setting) = raw.setting("data-path") {
        return Ok(PathBuf::from(setting.text()));
    }
    let variable = |name| raw.surroundings().variable(name);
    // systemd separates several state directories with colons; the first is the guard's.
    let state = variable("STATE_DIRECTORY").and_then(|list| std::env::split_paths(list).next());
    if let Some(directory) = state {
        return Ok(directory);
    }
    let absolute = |path: &PathBuf| path.is_absolute();
    variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| {
            let home = variable("HOME").map(PathBuf::from).filter(absolute)?;
            Some(home.join(".local/state"))
        })
        .map(|state| state.join("mcp-guard").join(external_url.host()))
        .ok_or_else(|| {
            ConfigError::refused("there is no place for the guard's state: HOME is not set")
                .hint("give --data-path DIRECTORY, or `--store memory:` to keep nothing")
        })
}

impl RawConfig {
    /// An option with a default in the table.
    pub(super) fn value<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        if let Some(setting) = self.setting(name) {
            let text = setting.text();
            return parse(text).map_err(|hint| setting.misread(text, hint));
        }
        match options::find(name).map(|option| option.default) {
            Some(Default::Value(text)) => parse(text).map_err(ConfigError::refused),
            _ => Err(ConfigError::refused(format!("--{name} is missing"))),
        }
    }

    /// The elements of a list, or of its default; none if it has none.
    pub(super) fn list<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        if let Some(setting) = self.setting(name) {
            return setting
                .elements()
                .iter()
                .map(|text| parse(text).map_err(|hint| setting.misread(text, hint)))
                .collect();
        }
        match options::find(name).map(|option| option.default) {
            Some(Default::Value(text)) => text
                .split(',')
                .map(|text| parse(text).map_err(ConfigError::refused))
                .collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// A secret, and where it stands.
    pub(super) fn secret(&self, name: &'static str) -> Option<(&Setting, &SecretString)> {
        let setting = self.setting(name)?;
        match &setting.given {
            Given::Secret(secret) => Some((setting, secret)),
            Given::Open(_) => None,
        }
    }

    pub(super) fn is_on(&self, name: &'static str) -> Result<bool, ConfigError> {
        self.value(name, value::switch)
    }

    pub(super) fn duration(&self, name: &'static str) -> Result<Duration, ConfigError> {
        self.value(name, value::duration)
    }

    fn duration_up_to(&self, name: &'static str, most: Duration) -> Result<Duration, ConfigError> {
        self.value(name, |text| match value::duration(text)? {
            time if time > most => Err(format!("write at most `{}s`", most.as_secs())),
            time => Ok(time),
        })
    }

    /// A duration that cannot be zero.
    pub(super) fn time(&self, name: &'static str) -> Result<Duration, ConfigError> {
        self.time_up_to(name, Duration::MAX)
    }

    fn time_up_to(&self, name: &'static str, most: Duration) -> Result<Duration, ConfigError> {
        match self.duration_up_to(name, most)? {
            Duration::ZERO => Err(match self.setting(name) {
                Some(setting) => setting.refuse("cannot be zero", "write `1s` or more"),
                None => ConfigError::refused(format!("--{name} cannot be zero")),
            }),
            time => Ok(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Invocation, Surroundings, from_args};
    use crate::upstream::Isolation;

    type Pairs<'a> = &'a [(&'static str, &'static str)];

    /// The smallest configuration that starts, with `pairs` over it.
    fn resolve(pairs: Pairs<'_>) -> Result<Config, ConfigError> {
        let base = [
            ("external-url", "http://localhost:8080"),
            ("password", "x"),
            ("store", "memory:"),
        ];
        let base = base
            .into_iter()
            .filter(|(name, _)| pairs.iter().all(|(other, _)| other != name));
        let pairs = base.chain(pairs.iter().copied());
        Config::resolve(&RawConfig::from_pairs(pairs, ["sh"])?)
    }

    fn refused(pairs: Pairs<'_>) -> (String, String) {
        let Err(error) = resolve(pairs) else {
            panic!("not refused: {pairs:?}");
        };
        assert_eq!(error.exit_code(), 78);
        let hint = error.hint_text().unwrap_or_default().to_owned();
        (error.to_string(), hint)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = resolve(&[]).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(config.limits.body_size, 4 << 20);
        assert_eq!(config.limits.connections, 10_000);
        assert_eq!(config.limits.connections_per_address, 2000);
        assert_eq!(config.limits.streams_per_user, 16);
        assert_eq!(config.limits.requests_per_user, 10_000);
        assert_eq!(config.shutdown_grace, seconds(30));
        assert_eq!(config.lifetimes.access_token, seconds(3600));
        assert_eq!(config.lifetimes.refresh_token, seconds(30 * 86400));
        assert_eq!(config.lifetimes.grant, seconds(90 * 86400));
        assert_eq!(config.lifetimes.refresh_grace, seconds(120));
        assert_eq!(config.lifetimes.code, seconds(60));
        let Upstream::Command(command) = &config.upstream else {
            panic!("a URL");
        };
        assert_eq!(command.isolation, Isolation::Session);
        assert_eq!(command.max_children, 32);
        assert_eq!(command.max_children_per_user, 4);
        assert_eq!(config.timeouts.session_idle, seconds(1800));
        assert_eq!(config.timeouts.start, seconds(60));
        assert_eq!(config.timeouts.request, seconds(300));
        assert!(matches!(
            config.oauth.registration,
            RegistrationPolicy::Open
        ));
        assert_eq!(config.mcp_url(), "http://localhost:8080/mcp");
        assert_eq!(config.identity.local.len(), 1);
    }

    #[test]
    fn bad_values_name_their_option_and_say_what_to_write() {
        for (name, value) in [
            ("external-url", "localhost:8080"),
            ("listen", "8080"),
            ("trusted-proxies", "proxy"),
            ("allowed-origins", "*"),
            ("max-body-size", "lots"),
            ("max-connections", "0"),
            ("max-connections-per-address", "-1"),
            ("max-streams-per-user", "many"),
            ("max-requests-per-user", "0"),
            ("shutdown-grace", "30"),
            ("insecure-http", "maybe"),
            ("users-file", "/nonexistent/users"),
            ("access-token-ttl", "0"),
            ("refresh-token-ttl", "0s"),
            ("grant-ttl", "forever"),
            ("refresh-grace", "601s"),
            ("code-ttl", "11m"),
            ("allowed-redirect-uris", "*"),
            ("max-children", "0"),
            ("start-timeout", "0"),
            ("env", "NAME"),
            ("env", "MCP_GUARD_X=1"),
            ("env", "A={user.name}"),
            ("pass-env", "A=B"),
            ("pass-env", "MCP_GUARD_PASSWORD"),
            ("working-dir", "/nonexistent/dir"),
            ("store", "redis://:canary@host"),
            ("registration-token", "unused"),
            ("tls-ca-file", "/nonexistent/roots"),
            ("proxy-headers", "X-A:canary"),
        ] {
            let (said, hint) = refused(&[(name, value)]);
            assert!(
                said.starts_with(&format!("--{name}")),
                "{name}={value}: {said}"
            );
            assert!(!hint.is_empty(), "{name}={value}: {said}");
            assert!(!format!("{said}{hint}").contains("canary"), "{said} {hint}");
        }
    }

    #[test]
    fn the_grace_may_be_nothing_and_ten_minutes() {
        for grace in ["0", "0s", "600s", "10m"] {
            assert!(resolve(&[("refresh-grace", grace)]).is_ok(), "{grace}");
        }
    }

    #[test]
    fn registration_that_is_off_is_worth_a_warning() {
        let warned = |policy| {
            let warnings = resolve(&[("registration", policy)]).unwrap().warnings;
            warnings.iter().any(|text| text.contains("no new client"))
        };
        assert!(warned("off") && !warned("open"));
    }

    #[test]
    fn a161_plain_http_is_refused_unless_loopback_or_asked_for() {
        let weak_enough = ("password", "correct horse battery");
        for url in [
            "http://mcp.example.com",
            "http://10.0.0.7:8080",
            "http://localhost.evil",
        ] {
            let (said, hint) = refused(&[("external-url", url), weak_enough]);
            assert!(said.contains("--external-url is plain http"), "{said}");
            assert!(hint.contains("--insecure-http"), "{hint}");
            let asked = [
                ("external-url", url),
                weak_enough,
                ("insecure-http", "true"),
            ];
            assert!(!resolve(&asked).unwrap().warnings.is_empty());
        }
        for url in ["http://localhost", "http://127.0.0.1:1", "http://[::1]:1"] {
            assert!(resolve(&[("external-url", url)]).is_ok(), "{url}");
        }
    }

    #[test]
    fn https_needs_a_certificate_or_a_proxy() {
        let url = ("external-url", "https://mcp.example.com");
        let password = ("password", "correct horse battery");
        let (_, hint) = refused(&[url, password]);
        assert!(hint.contains("--no-auto-tls"), "{hint}");
        let config = resolve(&[url, password, ("no-auto-tls", "true")]).unwrap();
        assert_eq!(config.mcp_url(), "https://mcp.example.com/mcp");
        assert!(config.tls.is_none());
    }

    #[test]
    fn the_mcp_url_has_the_path_of_the_server_behind_the_guard() {
        let pairs = [
            ("external-url", "http://localhost:8080/team"),
            ("password", "x"),
            ("store", "memory:"),
        ];
        let raw = RawConfig::behind(pairs, "http://127.0.0.1:1/api/mcp").unwrap();
        let config = Config::resolve(&raw).unwrap();
        assert_eq!(config.mcp_path, "/api/mcp");
        assert_eq!(config.mcp_url(), "http://localhost:8080/team/api/mcp");
        assert_eq!(resolve(&[]).unwrap().mcp_path, "/mcp");
        let twice = resolve(&[("external-url", "http://localhost:8080/mcp")]).unwrap();
        assert_eq!(twice.mcp_url(), "http://localhost:8080/mcp/mcp");
        assert!(
            twice
                .warnings
                .iter()
                .any(|text| text.contains(twice.mcp_url()))
        );
    }

    #[test]
    fn registration_by_token_needs_one() {
        let (said, _) = refused(&[("registration", "token")]);
        assert!(said.contains("no --registration-token"), "{said}");
        let config = resolve(&[("registration", "token"), ("registration-token", "t")]).unwrap();
        assert!(matches!(
            config.oauth.registration,
            RegistrationPolicy::Token(_)
        ));
        let config = resolve(&[("registration", "off")]).unwrap();
        assert!(matches!(config.oauth.registration, RegistrationPolicy::Off));
    }

    fn data_path(variables: Pairs<'_>, arguments: &[&str]) -> Result<StoreSettings, ConfigError> {
        let base = ["--external-url=http://localhost:1", "--password=x"];
        let arguments = base.iter().chain(arguments).chain(&["--", "/bin/sh"]);
        let surroundings = Surroundings::fake(variables, &[]);
        match from_args(arguments.map(Into::into), surroundings)? {
            Invocation::Serve(raw) => Ok(Config::resolve(&raw)?.store),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_data_path_follows_the_contract() {
        let home = ("HOME", "/home/a");
        let xdg = ("XDG_STATE_HOME", "/state");
        let systemd = ("STATE_DIRECTORY", "/var/lib/guard:/var/lib/more");
        for (variables, path) in [
            (&[home][..], "/home/a/.local/state/mcp-guard/localhost"),
            (&[home, xdg], "/state/mcp-guard/localhost"),
            (
                &[home, ("XDG_STATE_HOME", "relative")],
                "/home/a/.local/state/mcp-guard/localhost",
            ),
            (&[home, xdg, systemd], "/var/lib/guard"),
        ] {
            assert_eq!(
                data_path(variables, &[]).unwrap(),
                StoreSettings::Sqlite(path.into())
            );
        }
        let given = data_path(&[home], &["--data-path", "/data"]).unwrap();
        assert_eq!(given, StoreSettings::Sqlite("/data".into()));
        assert!(data_path(&[], &[]).is_err());
        assert_eq!(
            data_path(&[], &["--store=memory:"]).unwrap(),
            StoreSettings::Memory
        );
    }
}
