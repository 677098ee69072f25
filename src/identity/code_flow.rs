//! The authorization code grant towards identity providers (RFC 6749 §4.1), through the `oauth2`
//! crate, always with PKCE (RFC 7636, A-057).
//!
//! A provider hears what is configured and our own state, nonce and challenge; nothing of what a
//! client or a browser sent gets through to it.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    EndpointNotSet, EndpointSet, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardRevocableToken, TokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::SignInError;
use crate::crypto::random;
use crate::http::client::{Allowance, ClientError, HttpClient};

/// For every request to a provider while somebody waits for their sign-in.
pub(super) const ALLOWANCE: Allowance = Allowance {
    time: Duration::from_secs(10),
    size: 256 * 1024,
};

/// GitHub refuses requests without one.
pub(super) const OUR_NAME: HeaderValue = HeaderValue::from_static("mcp-guard");

/// What a provider knows us by, and where it is asked.
pub(super) struct CodeFlow {
    pub(super) client_id: String,
    /// Public clients have none.
    pub(super) client_secret: Option<SecretString>,
    pub(super) secret_goes: SecretGoes,
    pub(super) authorize_url: Url,
    pub(super) token_url: Url,
    /// To the letter as it is registered with the provider.
    pub(super) callback_url: String,
    pub(super) scopes: Vec<String>,
    pub(super) http: HttpClient,
}

/// How the client secret is shown (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecretGoes {
    /// `client_secret_basic`
    IntoTheHeader,
    /// `client_secret_post`
    IntoTheBody,
}

/// A request that the browser takes to the provider.
pub(super) struct AuthorizationRequest {
    pub(super) url: String,
    /// Redeems the code, together with it.
    pub(super) code_verifier: String,
}

/// What the provider gave for its code.
pub(super) struct Tokens {
    pub(super) access_token: SecretString,
    /// OpenID Connect Core §3.1.3.3
    pub(super) id_token: Option<SecretString>,
}

type OauthClient = Client<
    BasicErrorResponse,
    TokenAnswer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

impl CodeFlow {
    /// Where to send the browser; `more` are further parameters that are the same for everybody.
    pub(super) fn authorize(
        &self,
        state: &str,
        nonce: Option<&str>,
        more: &[(&str, &str)],
    ) -> Result<AuthorizationRequest, SignInError> {
        let client = self.client()?;
        let code_verifier = PkceCodeVerifier::new(random::secret());
        let mut request = client
            .authorize_url(|| CsrfToken::new(state.to_owned()))
            .add_scopes(self.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&code_verifier));
        let nonce = nonce.map(|nonce| ("nonce", nonce));
        for (name, value) in nonce.iter().chain(more) {
            request = request.add_extra_param(*name, *value);
        }
        Ok(AuthorizationRequest {
            url: request.url().0.into(),
            code_verifier: code_verifier.into_secret(),
        })
    }

    /// Redeems a code.
    pub(super) async fn exchange(
        &self,
        code: &str,
        code_verifier: &str,
    ) -> Result<Tokens, SignInError> {
        let answer = self
            .client()?
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(code_verifier.to_owned()))
            .request_async(&|request: Request<Vec<u8>>| ask(&self.http, request))
            .await
            .map_err(sign_in_error)?;
        answer.tokens()
    }

    fn client(&self) -> Result<OauthClient, SignInError> {
        let callback_url = RedirectUrl::new(self.callback_url.clone())
            .map_err(|error| SignInError::Broken(format!("our callback URL is none: {error}")))?;
        let client = Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(self.authorize_url.clone()))
            .set_token_uri(TokenUrl::from_url(self.token_url.clone()))
            .set_redirect_uri(callback_url)
            .set_auth_type(match self.secret_goes {
                SecretGoes::IntoTheHeader => AuthType::BasicAuth,
                SecretGoes::IntoTheBody => AuthType::RequestBody,
            });
        Ok(match &self.client_secret {
            None => client,
            Some(secret) => {
                client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
            }
        })
    }
}

/// The members of a token response that matter. What else there is may be missing (GitHub's
/// stand-ins send no `token_type`) or of a type of its own (`"expires_in": "3600"`).
#[derive(Debug, Deserialize, Serialize)]
struct TokenAnswer {
    access_token: AccessToken,
    #[serde(default = "bearer")]
    token_type: BasicTokenType,
    #[serde(default)]
    id_token: Option<AccessToken>,
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

impl TokenAnswer {
    fn tokens(self) -> Result<Tokens, SignInError> {
        // RFC 6749 §7.1: a token of a type that one does not understand must not be used.
        if !self.token_type.as_ref().eq_ignore_ascii_case("bearer") {
            let text = "the access token is no bearer token";
            return Err(SignInError::Broken(text.to_owned()));
        }
        let secret = |token: AccessToken| SecretString::from(token.into_secret());
        Ok(Tokens {
            access_token: secret(self.access_token),
            id_token: self.id_token.map(secret),
        })
    }
}

impl TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        None
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        None
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

/// Carries a request of the `oauth2` crate. Fails where the provider has trouble of its own.
async fn ask(
    http: &HttpClient,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, SignInError> {
    let mut request = request.map(Bytes::from);
    request.headers_mut().insert(USER_AGENT, OUR_NAME);
    let answer = send(http, request, "token endpoint").await?;
    let mut answer = answer.map(Vec::from);
    if answer.status() == StatusCode::OK && is_error(answer.body()) {
        *answer.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(answer)
}

/// GitHub sends errors with status 200.
fn is_error(body: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    answer.get("error").is_some_and(Value::is_string)
}

/// The provider's answer, unless it is not available; `whom` is asked, for the log.
pub(super) async fn send(
    http: &HttpClient,
    request: Request<Bytes>,
    whom: &str,
) -> Result<Response<Bytes>, SignInError> {
    let answer = http
        .send(request, ALLOWANCE)
        .await
        .map_err(|error| match error {
            ClientError::TimedOut(_) | ClientError::Connection(_) => {
                SignInError::Unavailable(format!("{whom}: {error}"))
            }
            ClientError::TooLarge(_) => SignInError::Broken(format!("{whom}: {error}")),
        })?;
    let status = answer.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(SignInError::Unavailable(format!("{whom}: status {status}")));
    }
    Ok(answer)
}

fn sign_in_error(error: RequestTokenError<SignInError, BasicErrorResponse>) -> SignInError {
    match error {
        RequestTokenError::Request(error) => error,
        RequestTokenError::ServerResponse(answer) => oauth_error(answer.error().as_ref()),
        // Only where in the answer the trouble is: a parser's message may quote it.
        RequestTokenError::Parse(error, _) => SignInError::Broken(format!(
            "token endpoint: no token response that can be read, at `{}`",
            error.path()
        )),
        RequestTokenError::Other(_) => SignInError::Broken(
            "token endpoint: the answer is empty or of another type than application/json"
                .to_owned(),
        ),
    }
}

/// The errors of RFC 6749 §5.2, those of GitHub besides, and what an operator can do about them.
fn oauth_error(code: &str) -> SignInError {
    let hint = match code {
        "invalid_grant" | "bad_verification_code" | "expired_token" => {
            return SignInError::Expired(code.to_owned());
        }
        "temporarily_unavailable" | "server_error" | "slow_down" => {
            return SignInError::Unavailable(code.to_owned());
        }
        "invalid_client" | "incorrect_client_credentials" => "check the client id and secret",
        "unauthorized_client" | "unsupported_grant_type" => {
            "allow this client the authorization code grant at the provider"
        }
        "redirect_uri_mismatch" => "register our callback URL with the provider",
        "invalid_scope" => "check the scopes",
        "invalid_request" => "check the client's registration with the provider",
        "unverified_user_email" => "the account has no verified e-mail address",
        _ if is_presentable(code) => "see what the provider says of this error",
        _ => return SignInError::Broken("token endpoint: an error without a name".to_owned()),
    };
    SignInError::Broken(format!("token endpoint: {code}; {hint}"))
}

/// Whether this is the name of an error, and nothing that a provider wants to see in our log.
fn is_presentable(code: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    (1..=40).contains(&code.len()) && code.bytes().all(is_plain)
}
