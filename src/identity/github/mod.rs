//! GitHub, and GitHub Enterprise Server.

use secrecy::SecretString;
use url::Url;

use super::access::GitHubRules;

/// How to sign people in with GitHub.
#[derive(Clone)]
pub struct Settings {
    pub client_id: String,
    pub client_secret: SecretString,
    /// `https://github.com`, or an Enterprise Server's address.
    pub url: Url,
    /// `https://api.github.com`, or `<url>/api/v3`.
    pub api_url: Url,
    pub rules: GitHubRules,
    /// Whether anything uses e-mail addresses: only then are they asked for.
    pub wants_email: bool,
}
