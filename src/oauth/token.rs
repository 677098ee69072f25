//! The token endpoint (RFC 6749 §3.2): codes and refresh tokens in, pairs of tokens out. The rules
//! are in [`crate::grant`]; here is how they look on the wire.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{HeaderValue, PRAGMA};
use serde_json::json;

use super::client::Client;
use super::client_authentication::{parameter, read_form, refusal, required, tried_basic};
use super::error::{ErrorCode, OAuthError, json as json_reply};
use super::figures::GrantType;
use super::{AuthorizationServer, scope, target};
use crate::grant::{GrantError, Redemption, TokenPair};
use crate::http::form::Form;
use crate::http::{Inbound, Reply};
use crate::policy::rate_limit::RateLimit;

/// Requests of one network that fail by their own fault. Hosted clients bring everybody's refreshes
/// from a few addresses, and all of them at once when many grants have ended (D-42).
const BURST: u32 = 300;
const PER_SECOND: f64 = 5.0;
const MAX_NETWORKS: usize = 10_000;

/// The limit on one network.
pub(super) fn rate_limit() -> RateLimit {
    RateLimit::new(BURST, PER_SECOND, MAX_NETWORKS)
}

impl AuthorizationServer {
    pub(super) async fn token(&self, request: Inbound) -> Reply {
        let tried_basic = tried_basic(&request.headers);
        let from = request.client;
        match self.try_token(request).await {
            Ok(pair) => answer(&pair),
            Err(error) => {
                self.figures.token_errors.count(error.code);
                refusal(&self.slowed(error, from), tried_basic)
            }
        }
    }

    /// Whoever fails again and again is told to wait instead of why. What succeeds is never counted:
    /// no neighbour behind the same address can keep a good code or token from being redeemed.
    fn slowed(&self, error: OAuthError, from: IpAddr) -> OAuthError {
        if !error.status.is_client_error() {
            return error;
        }
        match self.failed_redemptions.check(from) {
            Ok(()) => error,
            Err(wait) => OAuthError::too_many(wait),
        }
    }

    async fn try_token(&self, request: Inbound) -> Result<TokenPair, OAuthError> {
        let headers = request.headers.clone();
        let form = read_form(request).await?;
        let grant_type = GrantType::of(&form)?;
        let client = self.authenticate_client(&headers, &form).await?;
        self.check_target(&form)?;
        let pair = match grant_type {
            GrantType::AuthorizationCode => self.redeem(&client, &form).await?,
            GrantType::RefreshToken => self.refresh(&client, &form).await?,
        };
        self.figures.tokens.count(grant_type);
        Ok(pair)
    }

    async fn redeem(&self, client: &Client, form: &Form) -> Result<TokenPair, OAuthError> {
        let redemption = Redemption {
            code: required(form, "code", "code is missing")?,
            client: &client.id,
            redirect_uri: parameter(form, "redirect_uri")?,
            code_verifier: parameter(form, "code_verifier")?,
            resource: Some(&self.settings.resource),
        };
        Ok(self.grants.redeem(redemption).await?)
    }

    async fn refresh(&self, client: &Client, form: &Form) -> Result<TokenPair, OAuthError> {
        let token = required(form, "refresh_token", "refresh_token is missing")?;
        self.refuse_removed(token).await?;
        // Clients repeat whatever they first asked for; what is unknown is dropped here as there.
        let scopes = parameter(form, "scope")?.map(|scope| scope::narrow(Some(scope)));
        let resource = Some(&self.settings.resource);
        let pair = self
            .grants
            .refresh(token, &client.id, scopes.as_ref(), resource);
        Ok(pair.await?)
    }

    /// Whom the rules no longer let in has no access from the next refresh on. The grant
    /// ends, so that it does not come back with a user of the same name.
    async fn refuse_removed(&self, refresh_token: &str) -> Result<(), OAuthError> {
        let Some((grant, identity)) = self.grants.holder(refresh_token).await? else {
            return Ok(());
        };
        let Err(refusal) = self.identity.admits(&identity) else {
            return Ok(());
        };
        tracing::info!(event = "user_removed", grant = %grant.0, subject = %identity.subject,
            missing = refusal.missing, "a grant of a user who is no longer let in ends");
        self.grants.revoke(&grant).await?;
        Err(OAuthError::new(
            ErrorCode::InvalidGrant,
            "the user is no longer let in; the grant has ended",
        ))
    }

    /// `resource` may be absent: there is one endpoint, so it is meant (RFC 8707 §2, A-051).
    fn check_target(&self, form: &Form) -> Result<(), OAuthError> {
        let settings = &self.settings;
        let requested = parameter(form, "resource")?;
        let meant = requested.is_none_or(|requested| {
            target::names(requested, &settings.resource, &settings.external_url)
        });
        if meant {
            Ok(())
        } else {
            Err(OAuthError::new(
                ErrorCode::InvalidTarget,
                "there is no such resource here",
            ))
        }
    }
}

impl GrantType {
    fn of(form: &Form) -> Result<Self, OAuthError> {
        match required(form, "grant_type", "grant_type is missing")? {
            "authorization_code" => Ok(Self::AuthorizationCode),
            "refresh_token" => Ok(Self::RefreshToken),
            _ => Err(OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                "the grant types are authorization_code and refresh_token",
            )),
        }
    }
}

/// RFC 6749 §5.1; no member is ever null.
fn answer(pair: &TokenPair) -> Reply {
    let members = json!({
        "access_token": pair.access_token,
        "token_type": "Bearer",
        "expires_in": pair.expires_in.as_secs(),
        "scope": pair.scopes,
        "refresh_token": pair.refresh_token,
    });
    let mut reply = json_reply(StatusCode::OK, &members);
    let headers = reply.headers_mut();
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}

impl From<GrantError> for OAuthError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Invalid(why) => Self::new(ErrorCode::InvalidGrant, why),
            GrantError::OtherResource => Self::new(ErrorCode::InvalidTarget, error.to_string()),
            GrantError::WiderScope => Self::new(ErrorCode::InvalidScope, error.to_string()),
            GrantError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use crate::crypto::TokenHash;
    use crate::oauth::Endpoint;
    use crate::oauth::fixture::form;
    use crate::oauth::token_client::{FORM, TokenClient, error};

    fn invalid(code: &str) -> (u16, String) {
        (400, code.to_owned())
    }

    fn refresh_token(pair: &Value) -> &str {
        pair["refresh_token"].as_str().unwrap()
    }

    async fn works(client: &TokenClient, pair: &Value) -> bool {
        let hash = TokenHash::of(pair["access_token"].as_str().unwrap());
        client
            .running
            .grants
            .access_token(hash)
            .await
            .unwrap()
            .is_some()
    }

    #[tokio::test]
    async fn a036_the_answer_has_all_members_and_no_null() {
        let client = TokenClient::new("none").await;
        let answer = client.redeem(&client.code().await, &[]).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("pragma"), "no-cache");
        let pair = answer.json();
        assert_eq!(pair["token_type"], "Bearer");
        assert_eq!(pair["expires_in"], 3600);
        assert_eq!(pair["scope"], "mcp");
        assert!(pair["access_token"].as_str().unwrap().starts_with("mga_"));
        assert!(refresh_token(&pair).starts_with("mgr_"));
        assert_eq!(pair.as_object().unwrap().len(), 5);
        assert!(works(&client, &pair).await);
    }

    #[tokio::test]
    async fn a070_a_replayed_code_is_an_invalid_grant_and_ends_the_family() {
        let client = TokenClient::new("none").await;
        let code = client.code().await;
        let pair = client.redeem(&code, &[]).await.json();
        client.running.clock.advance(Duration::from_secs(2));
        let replay = client.redeem(&code, &[]).await;
        assert_eq!(error(&replay), invalid("invalid_grant"));
        assert!(!works(&client, &pair).await);
    }

    #[tokio::test]
    async fn a072_bad_parameters_are_named_and_do_not_burn_the_code() {
        let client = TokenClient::new("none").await;
        let code = client.code().await;
        for (change, expected) in [
            (("code_verifier", "x"), "invalid_grant"),
            (("code_verifier", ""), "invalid_grant"),
            (
                ("redirect_uri", "http://localhost:1/callback"),
                "invalid_grant",
            ),
            (("resource", "https://evil.test/mcp"), "invalid_target"),
            (("code", "mgc_unknown"), "invalid_grant"),
            (("code", ""), "invalid_request"),
            (("client_id", ""), "invalid_request"),
            (("grant_type", ""), "invalid_request"),
        ] {
            let answer = client.redeem(&code, &[change]).await;
            assert_eq!(error(&answer), invalid(expected), "{change:?}");
        }
        assert_eq!(client.redeem(&code, &[]).await.status, 200);
    }

    #[tokio::test]
    async fn who_fails_too_often_waits_but_a_good_code_always_redeems() {
        let client = TokenClient::new("none").await;
        let code = client.code().await;
        let mut last = client.redeem("mgc_unknown", &[]).await;
        for _ in 0..1000 {
            if last.status == 429 {
                break;
            }
            last = client.redeem("mgc_unknown", &[]).await;
        }
        assert_eq!(last.status, 429);
        assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(last.json()["error"], "temporarily_unavailable");
        // From the same address.
        let pair = client.redeem(&code, &[]).await;
        assert_eq!(pair.status, 200);
        let pair = client.refresh(refresh_token(&pair.json()), &[]).await;
        assert_eq!(pair.status, 200);
    }

    #[tokio::test]
    async fn a051_every_spelling_of_the_resource_is_understood() {
        let client = TokenClient::new("none").await;
        for resource in [
            "",
            "https://guard.test/mcp/",
            "HTTPS://GUARD.test/mcp",
            "https://guard.test",
        ] {
            let code = client.code().await;
            let answer = client.redeem(&code, &[("resource", resource)]).await;
            assert_eq!(answer.status, 200, "{resource}");
            let pair = answer.json();
            let answer = client
                .refresh(refresh_token(&pair), &[("resource", resource)])
                .await;
            assert_eq!(answer.status, 200, "{resource}");
        }
    }

    #[tokio::test]
    async fn a077_a_repeated_refresh_yields_the_same_pair() {
        let client = TokenClient::new("none").await;
        let first = client.pair().await;
        let second = client.refresh(refresh_token(&first), &[]).await.json();
        let again = client.refresh(refresh_token(&first), &[]).await.json();
        assert_eq!(second["access_token"], again["access_token"]);
        assert_eq!(second["refresh_token"], again["refresh_token"]);
        assert_ne!(second["refresh_token"], first["refresh_token"]);
    }

    #[tokio::test]
    async fn a_removed_users_grant_ends_at_the_next_refresh() {
        let client = TokenClient::new("none").await;
        let pair = client.pair_of("removed").await;
        let bystander = client.pair().await;
        assert!(works(&client, &pair).await);
        let answer = client.refresh(refresh_token(&pair), &[]).await;
        assert_eq!(error(&answer), invalid("invalid_grant"));
        assert!(!works(&client, &pair).await);
        let answer = client.refresh(refresh_token(&bystander), &[]).await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn a080_unknown_scopes_are_ignored_and_wider_ones_refused_on_refresh() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        let wider = client
            .refresh(refresh_token(&pair), &[("scope", "mcp offline_access")])
            .await;
        assert_eq!(error(&wider), invalid("invalid_scope"));
        let target = ("resource", "https://evil.test/");
        let elsewhere = client.refresh(refresh_token(&pair), &[target]).await;
        assert_eq!(error(&elsewhere), invalid("invalid_target"));
        let scope = ("scope", "openid email mcp");
        let answer = client.refresh(refresh_token(&pair), &[scope]).await;
        assert_eq!(answer.json()["scope"], "mcp");
    }

    #[tokio::test]
    async fn a082_only_a_plain_form_is_read() {
        let client = TokenClient::new("none").await;
        let code = client.code().await;
        let body = form(&[("grant_type", "authorization_code"), ("code", &code)]);
        for content_type in [
            "application/json",
            "multipart/form-data; boundary=x",
            "application/json, application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded, application/json",
            "application/x-www-form-urlencoded; a=b, text/plain",
            "",
        ] {
            let headers = [("content-type", content_type)];
            let answer = client.post(Endpoint::Token, &headers, body.clone()).await;
            assert_eq!(error(&answer), invalid("invalid_request"), "{content_type}");
        }
        let twice = client
            .post(Endpoint::Token, &[FORM, FORM], body.clone())
            .await;
        assert_eq!(error(&twice), invalid("invalid_request"));
        let none = client.post(Endpoint::Token, &[], body).await;
        assert_eq!(error(&none), invalid("invalid_request"));
    }

    #[tokio::test]
    async fn a082_parameters_of_the_media_type_are_allowed() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token(&pair)),
            ("client_id", &client.id),
        ]);
        let headers = [(
            "content-type",
            "Application/X-WWW-Form-Urlencoded ; charset=UTF-8",
        )];
        assert_eq!(
            client.post(Endpoint::Token, &headers, body).await.status,
            200
        );
    }

    #[tokio::test]
    async fn a082_repeated_parameters_large_bodies_and_garbage_are_refused() {
        let client = TokenClient::new("none").await;
        let good = format!("grant_type=refresh_token&client_id={}", client.id);
        for name in [
            "grant_type",
            "client_id",
            "refresh_token",
            "scope",
            "resource",
        ] {
            let body = format!("{good}&refresh_token=a&{name}=x&{name}=x");
            let answer = client.post(Endpoint::Token, &[FORM], body).await;
            assert_eq!(error(&answer), invalid("invalid_request"), "{name}");
        }
        for body in ["", "%", "grant_type=%zz", "grant_type=%ff", "{}"] {
            let answer = client.post(Endpoint::Token, &[FORM], body.to_owned()).await;
            assert_eq!(error(&answer), invalid("invalid_request"), "{body}");
        }
        let large = format!("{good}&x={}", "x".repeat(17 << 10));
        let answer = client.post(Endpoint::Token, &[FORM], large).await;
        assert_eq!(error(&answer), (413, "invalid_request".to_owned()));
    }

    #[tokio::test]
    async fn a082_the_query_is_ignored() {
        let client = TokenClient::new("none").await;
        let code = client.code().await;
        let target = format!("/token?grant_type=authorization_code&code={code}");
        let answer = client
            .running
            .send(Endpoint::Token, &target, &[FORM], "")
            .await;
        assert_eq!(error(&answer), invalid("invalid_request"));
        assert_eq!(client.redeem(&code, &[]).await.status, 200);
    }

    #[tokio::test]
    async fn a085_other_grants_are_unsupported() {
        let client = TokenClient::new("none").await;
        for grant_type in [
            "password",
            "client_credentials",
            "implicit",
            "urn:ietf:params:oauth:grant-type:token-exchange",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "urn:ietf:params:oauth:grant-type:device_code",
            "Authorization_Code",
        ] {
            let answer = client
                .token(&[("grant_type", grant_type), ("client_id", &client.id)])
                .await;
            assert_eq!(
                error(&answer),
                invalid("unsupported_grant_type"),
                "{grant_type}"
            );
        }
    }

    #[tokio::test]
    async fn r04_trouble_with_the_store_is_a_503_with_retry_after() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        let code = client.code().await;
        client.running.store.close().await;
        for answer in [
            client.redeem(&code, &[]).await,
            client.refresh(refresh_token(&pair), &[]).await,
        ] {
            assert_eq!(answer.status, 503);
            assert!(!answer.header("retry-after").is_empty());
        }
    }
}
