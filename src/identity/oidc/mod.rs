//! Any OIDC issuer (OpenID Connect Core 1.0, Discovery 1.0). Google is a preset of it.

use secrecy::SecretString;
use url::Url;

use super::access::OidcRules;

/// How to sign people in with an OIDC issuer.
#[derive(Clone)]
pub struct Settings {
    /// For people: `Google`, or `--oidc-provider-name`.
    pub name: String,
    /// The discovery document. Its `issuer` must be this URL without
    /// `/.well-known/openid-configuration`.
    pub configuration_url: Url,
    pub client_id: String,
    /// Public clients have none; PKCE is always used.
    pub client_secret: Option<SecretString>,
    /// `openid` is always among them.
    pub scopes: Vec<String>,
    pub rules: OidcRules,
    /// Claims to keep besides those that the rules name (`--header-mapping`), by JSON pointer.
    pub kept_claims: Vec<String>,
}
