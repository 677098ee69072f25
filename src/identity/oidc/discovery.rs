//! What an issuer says of itself (OpenID Connect Discovery 1.0 §4, threat case A-067).
//!
//! It is asked at the first sign-in, so an issuer that is down delays sign-ins and never a start.
//! The answer, and the keys with it, hold for an hour; a failure for a few seconds, however many
//! people want to sign in meanwhile.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::document::fetch;
use super::keys::Keys;
use crate::http::client::{HttpClient, is_confidential};
use crate::identity::SignInError;
use crate::identity::code_flow::SecretGoes;

const HOLDS_FOR: Duration = Duration::from_hours(1);

/// How long a failure stands before the issuer is asked again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(3);

/// OpenID Connect Discovery §4.1
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

pub(super) struct Discovery {
    configuration_url: Url,
    http: HttpClient,
    /// Locked while the issuer is asked: everybody else waits for the same answer.
    latest: Mutex<Option<Latest>>,
}

struct Latest {
    at: Instant,
    outcome: Result<Arc<Issuer>, SignInError>,
}

/// An issuer as it says it is.
pub(super) struct Issuer {
    /// To the letter: this is what `iss` must be.
    pub(super) name: String,
    pub(super) authorize_url: Url,
    pub(super) token_url: Url,
    pub(super) userinfo_url: Option<Url>,
    pub(super) secret_goes: SecretGoes,
    /// RFC 9207 §3: its answers in the browser always say whose they are.
    pub(super) signs_answers: bool,
    pub(super) keys: Keys,
}

impl Discovery {
    pub(super) fn new(configuration_url: Url, http: HttpClient) -> Self {
        Self {
            configuration_url,
            http,
            latest: Mutex::default(),
        }
    }

    pub(super) async fn issuer(&self) -> Result<Arc<Issuer>, SignInError> {
        let mut latest = self.latest.lock().await;
        if let Some(latest) = latest.as_ref().filter(|latest| latest.holds()) {
            return latest.outcome.clone();
        }
        let outcome = self.ask().await.map(Arc::new);
        *latest = Some(Latest {
            at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    async fn ask(&self) -> Result<Issuer, SignInError> {
        let body = fetch(&self.http, &self.configuration_url, None, "discovery").await?;
        let document: Document = serde_json::from_slice(&body).map_err(|_| {
            SignInError::Broken("discovery: this is no provider metadata".to_owned())
        })?;
        self.verify_name(&document.issuer)?;
        document.issuer(self.http.clone())
    }

    /// The document must be that of the issuer whose address is configured (§4.3). An issuer's
    /// terminating slash is not part of the document's address (§4.1), so this address stands for
    /// both; Auth0's and authentik's issuers end in one.
    fn verify_name(&self, name: &str) -> Result<(), SignInError> {
        let url = self.configuration_url.as_str();
        let configured = url.strip_suffix(WELL_KNOWN).ok_or_else(|| {
            SignInError::Broken(format!("discovery: {url} does not end in {WELL_KNOWN}"))
        })?;
        if name.strip_suffix('/').unwrap_or(name) == configured {
            return Ok(());
        }
        // Parsed, it is fit for the log.
        let other = Url::parse(name).map_or("another issuer".to_owned(), String::from);
        Err(SignInError::Broken(format!(
            "discovery: the document at {url} is that of {other}"
        )))
    }
}

impl Latest {
    fn holds(&self) -> bool {
        let span = match self.outcome {
            Ok(_) => HOLDS_FOR,
            Err(_) => RETRY_AFTER,
        };
        self.at.elapsed() < span
    }
}

/// Provider metadata, as far as it matters (OpenID Connect Discovery §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Document {
    fn issuer(self, http: HttpClient) -> Result<Issuer, SignInError> {
        let jwks_url = endpoint(&self.jwks_uri, "jwks_uri")?;
        let userinfo_url = self.userinfo_endpoint.as_deref();
        Ok(Issuer {
            authorize_url: endpoint(&self.authorization_endpoint, "authorization_endpoint")?,
            token_url: endpoint(&self.token_endpoint, "token_endpoint")?,
            userinfo_url: userinfo_url
                .map(|url| endpoint(url, "userinfo_endpoint"))
                .transpose()?,
            secret_goes: self.secret_goes(),
            signs_answers: self.authorization_response_iss_parameter_supported,
            keys: Keys::new(jwks_url, http),
            name: self.issuer,
        })
    }

    fn secret_goes(&self) -> SecretGoes {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        let has = |name: &str| methods.is_some_and(|names| names.iter().any(|is| is == name));
        if has("client_secret_post") && !has("client_secret_basic") {
            SecretGoes::IntoTheBody
        } else {
            SecretGoes::IntoTheHeader
        }
    }
}

/// An address that secrets, or people, may be sent to: no script, no file, no plain http.
fn endpoint(url: &str, member: &str) -> Result<Url, SignInError> {
    Url::parse(url)
        .ok()
        .filter(is_confidential)
        .ok_or_else(|| SignInError::Broken(format!("discovery: {member} is no https URL")))
}
