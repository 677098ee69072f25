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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use hyper::header::{ACCEPT, AUTHORIZATION};
    use serde_json::json;

    use super::super::oidc::fake_issuer::{Answer, FakeIssuer, TOKEN};
    use super::*;

    const CALLBACK: &str = "https://guard.test/.auth/oidc/callback";

    fn flow(issuer: &FakeIssuer) -> CodeFlow {
        CodeFlow {
            client_id: "our id".to_owned(),
            client_secret: Some("our:s\u{e9}cret".into()),
            secret_goes: SecretGoes::IntoTheBody,
            authorize_url: Url::parse("https://id.test/authorize?tenant=a").unwrap(),
            token_url: Url::parse(&format!("{}{TOKEN}", issuer.url)).unwrap(),
            callback_url: CALLBACK.to_owned(),
            scopes: vec!["openid".to_owned(), "email".to_owned()],
            http: HttpClient::default(),
        }
    }

    async fn exchange(issuer: &FakeIssuer, answer: Answer) -> Result<Tokens, SignInError> {
        issuer.answer(TOKEN, answer);
        flow(issuer).exchange("code canary", "verifier").await
    }

    #[tokio::test]
    async fn a050_the_provider_hears_what_is_configured_and_our_own_secrets_only() {
        let issuer = FakeIssuer::start().await;
        let more = [("prompt", "select_account")];
        let request = flow(&issuer).authorize("s&x=1", Some("n"), &more).unwrap();
        let url = Url::parse(&request.url).unwrap();
        let pairs: Vec<_> = url.query_pairs().into_owned().collect();
        let sent: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!(pairs.len(), sent.len());
        let digest =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, request.code_verifier.as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let expected = [
            ("tenant", "a"),
            ("response_type", "code"),
            ("client_id", "our id"),
            ("state", "s&x=1"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid email"),
            ("nonce", "n"),
            ("prompt", "select_account"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(sent, expected.into());
        assert_eq!(request.code_verifier.len(), 43);
        let again = flow(&issuer).authorize("s", None, &[]).unwrap();
        assert_ne!(again.code_verifier, request.code_verifier);
        assert!(!again.url.contains("nonce"));
    }

    #[tokio::test]
    async fn a057_a_code_is_redeemed_with_its_verifier_and_the_same_callback() {
        let issuer = FakeIssuer::start().await;
        let answer = json!({"access_token": "at", "token_type": "BEARER", "id_token": "it"});
        let tokens = exchange(&issuer, Answer::json(200, &answer)).await.unwrap();
        assert_eq!(tokens.access_token.expose_secret(), "at");
        assert_eq!(tokens.id_token.unwrap().expose_secret(), "it");
        let asked = issuer.asked(TOKEN);
        let [asked] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        for (name, value) in [
            ("grant_type", "authorization_code"),
            ("code", "code canary"),
            ("code_verifier", "verifier"),
            ("redirect_uri", CALLBACK),
            ("client_id", "our id"),
            ("client_secret", "our:s\u{e9}cret"),
        ] {
            assert_eq!(asked.parameter(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(asked.headers[ACCEPT], "application/json");
        assert_eq!(asked.headers[USER_AGENT], "mcp-guard");
        assert!(!asked.headers.contains_key(AUTHORIZATION));
    }

    #[tokio::test]
    async fn the_secret_goes_where_it_is_read_and_a_public_client_shows_its_name_only() {
        let issuer = FakeIssuer::start().await;
        issuer.answer(TOKEN, Answer::json(200, &json!({"access_token": "at"})));
        let mut flow = flow(&issuer);
        flow.secret_goes = SecretGoes::IntoTheHeader;
        flow.exchange("c", "v").await.unwrap();
        flow.client_secret = None;
        flow.exchange("c", "v").await.unwrap();
        let asked = issuer.asked(TOKEN);
        let [basic, public] = asked.as_slice() else {
            panic!("{asked:?}");
        };
        // RFC 6749 §2.3.1: both are form-encoded first, so a colon cannot part the secret.
        let expected = STANDARD.encode("our+id:our%3As%C3%A9cret");
        assert_eq!(basic.headers[AUTHORIZATION], format!("Basic {expected}"));
        assert_eq!(basic.parameter("client_secret"), None);
        assert!(!public.headers.contains_key(AUTHORIZATION));
        assert_eq!(public.parameter("client_id").as_deref(), Some("our id"));
        assert_eq!(public.parameter("client_secret"), None);
    }

    #[tokio::test]
    async fn what_does_not_matter_in_an_answer_may_be_missing_or_odd() {
        let issuer = FakeIssuer::start().await;
        for answer in [
            json!({"access_token": "at"}),
            json!({"access_token": "at", "expires_in": "3600", "scope": ["a"], "x": {}}),
            json!({"access_token": "at", "id_token": null, "error": null}),
        ] {
            let tokens = exchange(&issuer, Answer::json(200, &answer)).await.unwrap();
            assert_eq!(tokens.access_token.expose_secret(), "at");
            assert!(tokens.id_token.is_none());
        }
    }

    #[tokio::test]
    async fn a_code_that_is_used_or_old_is_told_from_trouble_whatever_the_status() {
        let issuer = FakeIssuer::start().await;
        for code in ["invalid_grant", "bad_verification_code", "expired_token"] {
            for status in [200, 400, 401] {
                let answer = json!({"error": code, "error_description": "canary"});
                let outcome = exchange(&issuer, Answer::json(status, &answer)).await;
                let error = outcome.err().unwrap();
                assert!(
                    matches!(&error, SignInError::Expired(_)),
                    "{code}: {error:?}"
                );
                assert!(!error.to_string().contains("canary"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a066_a_provider_that_is_down_or_busy_is_not_available() {
        let issuer = FakeIssuer::start().await;
        let slow = json!({"error": "temporarily_unavailable"});
        for answer in [
            Answer::HangsUp,
            Answer::text(500, "text/html", "canary"),
            Answer::json(503, &json!({"error": "invalid_grant"})),
            Answer::json(429, &json!({"access_token": "canary"})),
            Answer::json(400, &slow),
        ] {
            let error = exchange(&issuer, answer).await.err().unwrap();
            assert!(matches!(&error, SignInError::Unavailable(_)), "{error:?}");
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }

    #[tokio::test]
    async fn a066_an_answer_that_makes_no_sense_is_broken_and_never_quoted() {
        let issuer = FakeIssuer::start().await;
        for answer in [
            Answer::text(200, "text/html", "<html>canary</html>"),
            Answer::text(200, "application/json", "<html>canary</html>"),
            Answer::text(400, "text/html", "<html>canary</html>"),
            Answer::text(200, "application/json", ""),
            Answer::text(400, "application/json", ""),
            Answer::text(302, "text/plain", "canary"),
            Answer::json(200, &json!({"access_token": ["canary"]})),
            Answer::json(200, &json!({"access_token": "canary", "token_type": "mac"})),
            Answer::json(200, &json!({"token": "canary"})),
            Answer::json(200, &json!({"access_token": "canary".repeat(50_000)})),
            Answer::json(400, &json!({"error": "canary\nforged line"})),
            Answer::json(400, &json!({"error": "Canary".repeat(10)})),
            Answer::json(
                401,
                &json!({"error": "invalid_client", "error_description": "canary"}),
            ),
        ] {
            let error = exchange(&issuer, answer).await.err().unwrap();
            assert!(matches!(&error, SignInError::Broken(_)), "{error:?}");
            let said = format!("{error} {error:?}");
            assert!(!said.to_lowercase().contains("canary"), "{said}");
        }
    }

    #[tokio::test]
    async fn an_operator_is_told_what_to_do_about_a_mistake() {
        let issuer = FakeIssuer::start().await;
        for (code, hint) in [
            ("invalid_client", "check the client id and secret"),
            (
                "incorrect_client_credentials",
                "check the client id and secret",
            ),
            ("redirect_uri_mismatch", "register our callback URL"),
            ("unsupported_grant_type", "authorization code grant"),
            ("consent_required", "see what the provider says"),
        ] {
            let answer = Answer::json(400, &json!({ "error": code }));
            let said = exchange(&issuer, answer).await.err().unwrap().to_string();
            assert!(said.contains(code) && said.contains(hint), "{said}");
        }
    }
}
