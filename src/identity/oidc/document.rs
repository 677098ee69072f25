//! What an issuer publishes: fetched with GET, answered with JSON.

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::http::client::HttpClient;
use crate::identity::SignInError;
use crate::identity::code_flow::{OUR_NAME, send};

/// The body of an answer with status 200; `what` is fetched, for the log.
pub(super) async fn fetch(
    http: &HttpClient,
    url: &Url,
    bearer: Option<&SecretString>,
    what: &str,
) -> Result<Bytes, SignInError> {
    let mut request = Request::get(url.as_str())
        .header(USER_AGENT, OUR_NAME)
        .header(ACCEPT, "application/json")
        .body(Bytes::new())
        .map_err(|_| SignInError::Broken(format!("{what}: its URL cannot be asked")))?;
    if let Some(token) = bearer {
        let value = authorization(token)
            .ok_or_else(|| SignInError::Broken(format!("{what}: the access token is none")))?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let answer = send(http, request, what).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer.into_body()),
        status => Err(SignInError::Broken(format!("{what}: status {status}"))),
    }
}

/// RFC 6750 §2.1
fn authorization(token: &SecretString) -> Option<HeaderValue> {
    let text = format!("Bearer {}", token.expose_secret());
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
