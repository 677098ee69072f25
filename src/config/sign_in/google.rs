//! `--google-…`: accounts at Google, which is an OIDC issuer among others, with workspaces.

use super::provider::Provider;
use super::{Wanted, oidc};
use crate::config::{ConfigError, RawConfig};
use crate::http::ExternalUrl;
use crate::identity::ProviderKind;
use crate::identity::access::{OidcRules, UserId, Workspace};
use crate::identity::oidc::Settings;

pub(super) const PROVIDER: Provider = Provider {
    kind: ProviderKind::Google,
    name: "Google",
    prefix: "google-",
    needs: &["google-client-id", "google-client-secret"],
    rules: &["google-allowed-users", "google-allowed-workspaces"],
};

pub(super) fn settings(
    raw: &RawConfig,
    external_url: &ExternalUrl,
    wanted: &Wanted,
) -> Result<Option<Settings>, ConfigError> {
    if !PROVIDER.is_set_up(raw, external_url)? {
        return Ok(None);
    }
    Ok(Some(Settings {
        name: PROVIDER.name.to_owned(),
        configuration_url: raw.value("google-issuer", oidc::configuration_url)?,
        client_id: raw.value("google-client-id", |id| Ok(id.to_owned()))?,
        client_secret: raw
            .secret("google-client-secret")
            .map(|(_, secret)| secret.clone()),
        scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
        rules: OidcRules {
            anybody: PROVIDER.admits_anybody(raw)?,
            user_id_field: "/email".to_owned(),
            users: raw.list("google-allowed-users", address)?,
            workspaces: raw.list("google-allowed-workspaces", Workspace::parse)?,
            ..OidcRules::default()
        },
        kept_claims: wanted.claims.clone(),
    }))
}

/// Google names people by their e-mail address; anything else would never be one of them.
fn address(text: &str) -> Result<UserId, String> {
    if !text.contains('@') || text.contains('*') {
        return Err(
            "write whole e-mail addresses: `anna@example.com`; a domain of which everybody may \
             come in is one of --google-allowed-workspaces"
                .into(),
        );
    }
    UserId::parse(text)
}
