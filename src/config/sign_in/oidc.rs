//! `--oidc-…`: accounts at any OIDC issuer.

use url::Url;

use super::Wanted;
use super::provider::Provider;
use crate::config::{ConfigError, RawConfig, value};
use crate::http::ExternalUrl;
use crate::identity::ProviderKind;
use crate::identity::access::{ClaimRule, OidcRules, UserGlob, UserId};
use crate::identity::oidc::Settings;

pub(super) const PROVIDER: Provider = Provider {
    kind: ProviderKind::Oidc,
    name: "the OIDC issuer",
    prefix: "oidc-",
    needs: &["oidc-configuration-url", "oidc-client-id"],
    rules: &[
        "oidc-allowed-users",
        "oidc-allowed-users-glob",
        "oidc-allowed-claims",
    ],
};

/// Where an issuer's discovery document is (`OpenID` Connect Discovery 1.0 §4).
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

const OPENID: &str = "openid";

pub(super) fn settings(
    raw: &RawConfig,
    external_url: &ExternalUrl,
    wanted: &Wanted,
) -> Result<Option<Settings>, ConfigError> {
    if !PROVIDER.is_set_up(raw, external_url)? {
        return Ok(None);
    }
    let configuration_url = raw.value("oidc-configuration-url", configuration_url)?;
    Ok(Some(Settings {
        name: name(raw, &configuration_url)?,
        configuration_url,
        client_id: raw.value("oidc-client-id", |id| Ok(id.to_owned()))?,
        client_secret: raw
            .secret("oidc-client-secret")
            .map(|(_, secret)| secret.clone()),
        scopes: scopes(raw)?,
        rules: OidcRules {
            anybody: PROVIDER.admits_anybody(raw)?,
            user_id_field: raw.value("oidc-user-id-field", OidcRules::user_id_field)?,
            users: raw.list("oidc-allowed-users", UserId::parse)?,
            user_globs: raw.list("oidc-allowed-users-glob", user_glob)?,
            workspaces: Vec::new(),
            claims: raw.list("oidc-allowed-claims", ClaimRule::parse_all)?,
        },
        kept_claims: wanted.claims.clone(),
    }))
}

/// The discovery document's address, from itself or from the issuer's.
pub(super) fn configuration_url(text: &str) -> Result<Url, String> {
    let url = value::confidential_url(text)?;
    if url.path().ends_with(WELL_KNOWN) {
        return Ok(url);
    }
    let issuer = url.as_str().trim_end_matches('/');
    value::confidential_url(&format!("{issuer}{WELL_KNOWN}"))
}

fn scopes(raw: &RawConfig) -> Result<Vec<String>, ConfigError> {
    let mut scopes = raw.list("oidc-scopes", value::scope)?;
    if !scopes.iter().any(|scope| scope == OPENID) {
        scopes.insert(0, OPENID.to_owned());
    }
    Ok(scopes)
}

/// A pattern that leaves somebody out.
fn user_glob(text: &str) -> Result<UserGlob, String> {
    if text.chars().all(|c| matches!(c, '*' | '?' | '@' | '.')) {
        let plainly = "this covers everybody; if you mean it, give --allow-any-user and no list";
        return Err(plainly.into());
    }
    UserGlob::parse(text)
}

/// For the button on the sign-in page.
fn name(raw: &RawConfig, configuration_url: &Url) -> Result<String, ConfigError> {
    if raw.setting("oidc-provider-name").is_none() {
        return Ok(configuration_url
            .host_str()
            .unwrap_or("OpenID Connect")
            .to_owned());
    }
    raw.value("oidc-provider-name", |name| {
        if name.chars().any(char::is_control) || name.chars().count() > 40 {
            return Err("write at most 40 characters in one line".into());
        }
        Ok(name.to_owned())
    })
}
