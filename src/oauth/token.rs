//! The token endpoint (RFC 6749 §3.2): codes and refresh tokens in, pairs of tokens out. The rules
//! are in [`crate::grant`]; here is how they look on the wire.

use hyper::StatusCode;
use hyper::header::{HeaderValue, PRAGMA};
use serde_json::json;

use super::client::Client;
use super::client_authentication::{parameter, read_form, refusal, required, tried_basic};
use super::error::{ErrorCode, OAuthError, json as json_reply};
use super::{AuthorizationServer, scope, target};
use crate::grant::{GrantError, Redemption, TokenPair};
use crate::http::form::Form;
use crate::http::{Inbound, Reply};

/// The two grants there are.
enum GrantType {
    AuthorizationCode,
    RefreshToken,
}

impl AuthorizationServer {
    pub(super) async fn token(&self, request: Inbound) -> Reply {
        let tried_basic = tried_basic(&request.headers);
        match self.try_token(request).await {
            Ok(pair) => answer(&pair),
            Err(error) => refusal(&error, tried_basic),
        }
    }

    async fn try_token(&self, request: Inbound) -> Result<TokenPair, OAuthError> {
        let headers = request.headers.clone();
        let form = read_form(request).await?;
        let grant_type = GrantType::of(&form)?;
        let client = self.authenticate_client(&headers, &form).await?;
        self.check_target(&form)?;
        match grant_type {
            GrantType::AuthorizationCode => self.redeem(&client, &form).await,
            GrantType::RefreshToken => self.refresh(&client, &form).await,
        }
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
        // Clients repeat whatever they first asked for; what is unknown is dropped here as there.
        let scopes = parameter(form, "scope")?.map(|scope| scope::narrow(Some(scope)));
        let resource = Some(&self.settings.resource);
        let pair = self
            .grants
            .refresh(token, &client.id, scopes.as_ref(), resource);
        Ok(pair.await?)
    }

    /// `resource` may be absent: there is one endpoint, so it is meant (RFC 8707 §2, A-051).
    fn check_target(&self, form: &Form) -> Result<(), OAuthError> {
        let settings = &self.settings;
        let requested = parameter(form, "resource")?;
        let meant = requested.is_none_or(|requested| {
            target::names(requested, &settings.resource, &settings.external_url)
        });
        match meant {
            true => Ok(()),
            false => Err(OAuthError::new(
                ErrorCode::InvalidTarget,
                "there is no such resource here",
            )),
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
