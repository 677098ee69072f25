//! Who may sign in, and how: local users, and accounts at identity providers. There is always
//! somebody, and never everybody by mistake.

mod github;
mod google;
mod local;
mod oidc;
mod provider;
mod summary;

pub(super) use summary::summary;

use super::{ConfigError, RawConfig};
use crate::http::ExternalUrl;
use crate::identity;
use crate::upstream::Upstream;

const NOBODY: &str = "nobody may sign in";
const NOBODY_HINT: &str = "give --password-file FILE (or MCP_GUARD_PASSWORD, --password-hash, \
                           --users-file), or an identity provider: --github-client-id, \
                           --google-client-id, --oidc-configuration-url";

const ANY_USER_IN_VAIN: &str = "--allow-any-user has no effect: for every way to sign in it is \
                                said who may";

const AUTO_SELECT_IN_VAIN: &str = "--no-provider-auto-select has no effect: the consent page is \
                                   always shown";

/// What the wrapped server is told about people, and the providers must thus be asked for.
#[derive(Default)]
pub(super) struct Wanted {
    /// E-mail addresses.
    email: bool,
    /// Claims, by JSON pointer.
    claims: Vec<String>,
}

impl Wanted {
    pub(super) fn by(upstream: &Upstream) -> Self {
        match upstream {
            Upstream::Command(command) => Self {
                email: command
                    .env
                    .iter()
                    .any(|(_, value)| value.contains("{user.email}")),
                claims: Vec::new(),
            },
            Upstream::Url(url) => Self {
                email: url.identity_headers || url.identity_jwt || !url.header_mapping.is_empty(),
                claims: url
                    .header_mapping
                    .iter()
                    .map(|(pointer, _)| pointer.clone())
                    .collect(),
            },
        }
    }
}

/// All ways to sign in.
pub(super) fn settings(
    raw: &RawConfig,
    external_url: &ExternalUrl,
    wanted: &Wanted,
) -> Result<identity::Settings, ConfigError> {
    let settings = identity::Settings {
        local: local::users(raw, external_url)?,
        github: github::settings(raw, external_url, wanted)?,
        google: google::settings(raw, external_url, wanted)?,
        oidc: oidc::settings(raw, external_url, wanted)?,
    };
    let providers = [&settings.google, &settings.oidc];
    let nobody = settings.local.is_empty()
        && settings.github.is_none()
        && providers.iter().all(|provider| provider.is_none());
    if nobody {
        return Err(ConfigError::refused(NOBODY).hint(NOBODY_HINT));
    }
    Ok(settings)
}

/// The providers with which whoever has an account may come in, by their names for people.
pub(super) fn open_to_anybody(settings: &identity::Settings) -> Vec<String> {
    let github = settings
        .github
        .iter()
        .filter(|github| github.rules.anybody)
        .map(|_| github::PROVIDER.name.to_owned());
    let issuers = settings.google.iter().chain(&settings.oidc);
    let issuers = issuers
        .filter(|issuer| issuer.rules.anybody)
        .map(|issuer| issuer.name.clone());
    github.chain(issuers).collect()
}

/// What the operator should know.
pub(super) fn warnings(
    raw: &RawConfig,
    settings: &identity::Settings,
) -> Result<Vec<String>, ConfigError> {
    let open = open_to_anybody(settings);
    let mut warnings: Vec<String> = local::warning(raw).into_iter().collect();
    if raw.is_on("allow-any-user")? && open.is_empty() {
        warnings.push(ANY_USER_IN_VAIN.to_owned());
    }
    warnings
        .extend(open.iter().map(|name| {
            format!("--allow-any-user: anybody with an account at {name} may come in")
        }));
    if raw.is_on("no-provider-auto-select")? {
        warnings.push(AUTO_SELECT_IN_VAIN.to_owned());
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests;
