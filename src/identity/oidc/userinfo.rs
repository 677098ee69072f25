//! The userinfo endpoint (OpenID Connect Core §5.3): claims that are not in the ID token.

use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::document::fetch;
use super::json;
use crate::http::client::HttpClient;
use crate::identity::SignInError;

/// What it says of `subject`, whose access token this is.
pub(super) async fn ask(
    http: &HttpClient,
    url: &Url,
    access_token: &SecretString,
    subject: &str,
) -> Result<Map<String, Value>, SignInError> {
    let body = fetch(http, url, Some(access_token), "userinfo").await?;
    let claims = json::object(&body).ok_or_else(|| {
        SignInError::Broken("userinfo: no JSON object (a signed one is not supported)".to_owned())
    })?;
    // OpenID Connect Core §5.3.2: somebody else's claims must not be used.
    if claims.get("sub").and_then(Value::as_str) != Some(subject) {
        let text = "userinfo: sub is missing or another one than in the ID token";
        return Err(SignInError::Untrusted(text.to_owned()));
    }
    Ok(claims)
}
