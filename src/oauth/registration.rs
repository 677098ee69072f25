//! Dynamic client registration (RFC 7591). Open to anybody by default, so what comes in is bounded
//! before it is parsed, checked before it is stored, and nothing in it is ever fetched
//! (threat cases A-008 … A-018).
//!
//! It refuses what would be unsafe and ignores what it does not know: real clients register long
//! lists of grant types and mixed redirect URIs in one body, and one refusal locks them out.

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::crypto::{TokenHash, random};
use crate::grant::ClientId;
use crate::http::{Inbound, Reply};
use crate::policy::rate_limit::RateLimit;

use super::client::{AddError, AuthMethod, Client};
use super::error::{ErrorCode, OAuthError, RETRY, json};
use super::metadata::GRANT_TYPES;
use super::redirect_uri::RedirectUri;
use super::{AuthorizationServer, RegistrationPolicy, scope, strict_json};

/// The largest body, in bytes.
const MAX_BODY: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
/// Registrations of one network: at once, and per second in the long run. Hosted clients register
/// anew for every connection of every user of theirs, from a few addresses.
const BURST: u32 = 120;
const PER_SECOND: f64 = 6.0;
/// Networks remembered.
const MAX_NETWORKS: usize = 10_000;
const MAX_REDIRECT_URIS: usize = 10;
/// Members of RFC 7591 §2 that are text, besides those that end in `_uri`.
const TEXTS: [&str; 7] = [
    "application_type",
    "client_name",
    "scope",
    "software_id",
    "software_statement",
    "software_version",
    "token_endpoint_auth_method",
];
/// Members of RFC 7591 §2 that are lists of texts.
const LISTS: [&str; 4] = ["contacts", "grant_types", "redirect_uris", "response_types"];

/// The brake on one network.
pub(super) fn rate_limit() -> RateLimit {
    RateLimit::new(BURST, PER_SECOND, MAX_NETWORKS)
}

impl AuthorizationServer {
    pub(super) async fn register(&self, request: Inbound) -> Reply {
        match self.try_register(request).await {
            Ok(reply) => reply,
            Err(error) => refusal(&error),
        }
    }

    async fn try_register(&self, request: Inbound) -> Result<Reply, OAuthError> {
        let in_time = self.registrations.check(request.client);
        in_time.map_err(OAuthError::too_many)?;
        self.may_register(&request)?;
        if !is_json(request.header(CONTENT_TYPE.as_str())) {
            return Err(metadata_error("the Content-Type is not application/json")
                .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = request.body.read(MAX_BODY, PATIENCE).await?;
        let registration = Registration::parse(&body)?;
        self.check_allowed(&registration.redirect_uris)?;

        let secret = match registration.auth_method {
            AuthMethod::None => None,
            _ => Some(format!("mgs_{}", random::secret())),
        };
        let client = registration.client(secret.as_deref(), self.clock.now());
        self.clients
            .add(&client)
            .await
            .map_err(|error| match error {
                AddError::Full => {
                    OAuthError::unavailable("every registered client is in use", RETRY)
                }
                AddError::Store(error) => error.into(),
            })?;
        tracing::info!(event = "client_registered", client = %client.id.0, name = client.name.as_deref(),
            "a client registered");
        let answer = registration.answer(&client, secret);
        Ok(json(StatusCode::CREATED, &answer))
    }

    /// `--registration`.
    fn may_register(&self, request: &Inbound) -> Result<(), OAuthError> {
        match &self.settings.registration {
            RegistrationPolicy::Open => Ok(()),
            RegistrationPolicy::Off => Err(OAuthError::new(
                ErrorCode::AccessDenied,
                "registration is switched off here; ask the operator for a client",
            )),
            RegistrationPolicy::Token(expected) => {
                let presented = request.header(AUTHORIZATION.as_str()).and_then(bearer);
                // Comparing digests tells nothing about the token by its timing.
                let expected = TokenHash::of(expected.expose_secret());
                if presented.map(TokenHash::of) == Some(expected) {
                    Ok(())
                } else {
                    Err(OAuthError::new(
                        ErrorCode::InvalidToken,
                        "registration needs the operator's initial access token",
                    ))
                }
            }
        }
    }

    fn check_allowed(&self, uris: &[RedirectUri]) -> Result<(), OAuthError> {
        let patterns = &self.settings.allowed_redirect_uris;
        match uris.iter().position(|uri| !uri.is_allowed_by(patterns)) {
            Some(at) => Err(redirect_error(at, "is not among those the operator allows")),
            None => Ok(()),
        }
    }
}

/// The answer, with the challenge where a token would have helped (RFC 6750 §3).
fn refusal(error: &OAuthError) -> Reply {
    let mut reply = error.reply();
    if error.code == ErrorCode::InvalidToken {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// A request for registration that was found good.
struct Registration {
    redirect_uris: Vec<RedirectUri>,
    auth_method: AuthMethod,
    name: Option<String>,
    grant_types: Vec<&'static str>,
    scope: Option<String>,
    application_type: Option<String>,
}

impl Registration {
    fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let members = strict_json::object(body).map_err(metadata_error)?;
        check_types(&members)?;
        Ok(Self {
            redirect_uris: redirect_uris(&members)?,
            auth_method: auth_method(&members)?,
            name: text(&members, "client_name").map(str::to_owned),
            grant_types: grant_types(&members),
            scope: text(&members, "scope").map(|asked| scope::narrow(Some(asked)).0),
            application_type: text(&members, "application_type").map(str::to_owned),
        })
    }

    fn client(&self, secret: Option<&str>, now: Timestamp) -> Client {
        Client {
            // Never a URL, never a subject.
            id: ClientId(format!("mcp_{}", random::id())),
            auth_method: self.auth_method,
            secret: secret.map(TokenHash::of),
            redirect_uris: self
                .redirect_uris
                .iter()
                .map(|uri| uri.as_str().to_owned())
                .collect(),
            name: self.name.clone(),
            issued_at: now,
            approved_at: None,
        }
    }

    /// RFC 7591 §3.2.1: what was registered, which may be less than was asked. No member is ever
    /// null: the TypeScript SDK's schema refuses that.
    fn answer(&self, client: &Client, secret: Option<String>) -> Value {
        let mut members = Map::new();
        let mut set = |name: &str, value: Value| _ = members.insert(name.to_owned(), value);
        set("client_id", client.id.0.clone().into());
        set("client_id_issued_at", client.issued_at.seconds().into());
        set("redirect_uris", client.redirect_uris.clone().into());
        set(
            "token_endpoint_auth_method",
            client.auth_method.as_str().into(),
        );
        set("grant_types", self.grant_types.clone().into());
        set("response_types", vec!["code"].into());
        if let Some(secret) = secret {
            set("client_secret", secret.into());
            set("client_secret_expires_at", 0.into());
        }
        if let Some(name) = &self.name {
            set("client_name", name.clone().into());
        }
        if let Some(scope) = &self.scope {
            set("scope", scope.clone().into());
        }
        if let Some(kind) = &self.application_type {
            set("application_type", kind.clone().into());
        }
        Value::Object(members)
    }
}

/// What is known must have its type; the rest is not looked at. Links must be web links even though
/// nothing here follows them: some page may show one some day.
fn check_types(members: &Map<String, Value>) -> Result<(), OAuthError> {
    for (name, value) in members {
        let (good, what) = match name.as_str() {
            name if TEXTS.contains(&name) => (value.is_string(), "a string"),
            name if LISTS.contains(&name) => (is_list_of_texts(value), "an array of strings"),
            name if name.ends_with("_uri") => (is_web_link(value), "an http or https URL"),
            _ => continue,
        };
        if !good {
            return Err(metadata_error(format!("{name} must be {what}")));
        }
    }
    Ok(())
}

fn is_list_of_texts(value: &Value) -> bool {
    let items = value.as_array();
    items.is_some_and(|items| items.iter().all(Value::is_string))
}

fn is_web_link(value: &Value) -> bool {
    let url = value.as_str().and_then(|text| url::Url::parse(text).ok());
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn redirect_uris(members: &Map<String, Value>) -> Result<Vec<RedirectUri>, OAuthError> {
    let uris: Vec<&str> = texts(members, "redirect_uris").collect();
    if uris.is_empty() {
        return Err(OAuthError::new(
            ErrorCode::InvalidRedirectUri,
            "redirect_uris must name at least one URI",
        ));
    }
    if uris.len() > MAX_REDIRECT_URIS {
        return Err(OAuthError::new(
            ErrorCode::InvalidRedirectUri,
            "redirect_uris names more than 10 URIs",
        ));
    }
    let judge = |(at, text)| RedirectUri::parse(text).map_err(|why| redirect_error(at, why));
    uris.into_iter().enumerate().map(judge).collect()
}

/// RFC 7591 §2: without a word it is `client_secret_basic`.
fn auth_method(members: &Map<String, Value>) -> Result<AuthMethod, OAuthError> {
    match text(members, "token_endpoint_auth_method") {
        None => Ok(AuthMethod::ClientSecretBasic),
        Some(name) => AuthMethod::parse(name).ok_or_else(|| {
            metadata_error(
                "token_endpoint_auth_method must be none, client_secret_basic or client_secret_post",
            )
        }),
    }
}

/// Those asked for that exist (A20). The code grant is always there: without it a client could do
/// nothing, and the answer says so.
fn grant_types(members: &Map<String, Value>) -> Vec<&'static str> {
    let [code, refresh] = GRANT_TYPES;
    let given = members.contains_key("grant_types");
    if given && !texts(members, "grant_types").any(|asked| asked == refresh) {
        vec![code]
    } else {
        vec![code, refresh]
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}

fn texts<'m>(members: &'m Map<String, Value>, name: &str) -> impl Iterator<Item = &'m str> {
    let items = members.get(name).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str)
}

fn metadata_error(description: impl Into<Cow<'static, str>>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, description)
}

/// Names the URI by its place: its text may be anything, and answers are not mirrors.
fn redirect_error(at: usize, why: &str) -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidRedirectUri,
        format!("redirect_uris[{at}] {why}"),
    )
}

fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.unwrap_or_default().split(';').next();
    media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"))
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim_start_matches(' '))
}

#[cfg(test)]
mod tests;
