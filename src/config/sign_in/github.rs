//! `--github-…`: accounts at GitHub, or at a GitHub Enterprise Server.

use url::Url;

use super::Wanted;
use super::provider::Provider;
use crate::config::{ConfigError, RawConfig, value};
use crate::http::ExternalUrl;
use crate::identity::access::{GitHubRules, OrgRule};
use crate::identity::{ProviderKind, github};

pub(super) const PROVIDER: Provider = Provider {
    kind: ProviderKind::GitHub,
    name: "GitHub",
    prefix: "github-",
    needs: &["github-client-id", "github-client-secret"],
    rules: &["github-allowed-users", "github-allowed-orgs"],
};

const API: &str = "https://api.github.com";

pub(super) fn settings(
    raw: &RawConfig,
    external_url: &ExternalUrl,
    wanted: &Wanted,
) -> Result<Option<github::Settings>, ConfigError> {
    if !PROVIDER.is_set_up(raw, external_url)? {
        return Ok(None);
    }
    let Some((_, secret)) = raw.secret("github-client-secret") else {
        return Ok(None);
    };
    let url = raw.value("github-url", value::confidential_url)?;
    Ok(Some(github::Settings {
        client_id: raw.value("github-client-id", |id| Ok(id.to_owned()))?,
        client_secret: secret.clone(),
        api_url: api_url(raw, &url)?,
        url,
        rules: GitHubRules {
            anybody: PROVIDER.admits_anybody(raw)?,
            users: raw.list("github-allowed-users", GitHubRules::login)?,
            orgs: raw.list("github-allowed-orgs", OrgRule::parse)?,
        },
        wants_email: wanted.email,
    }))
}

/// An Enterprise Server has its API below its own address.
fn api_url(raw: &RawConfig, url: &Url) -> Result<Url, ConfigError> {
    if raw.setting("github-api-url").is_some() {
        return raw.value("github-api-url", value::confidential_url);
    }
    let text = match url.host_str() {
        Some("github.com") => API.to_owned(),
        _ => format!("{}/api/v3", url.as_str().trim_end_matches('/')),
    };
    value::confidential_url(&text).map_err(ConfigError::refused)
}
