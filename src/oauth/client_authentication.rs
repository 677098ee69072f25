//! Who sends a form to the token or revocation endpoint (RFC 6749 §2.3, OAuth 2.1 §2.4).
//!
//! A client uses the method it registered with and no other (A-015). Whatever is wrong with its
//! credentials, the answer is the same `invalid_client`, and the client will register anew: so it
//! is said only when it is true, and a malformed request is an `invalid_request`.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, PRAGMA, WWW_AUTHENTICATE};

use super::AuthorizationServer;
use super::client::{AuthMethod, Client};
use super::error::{ErrorCode, OAuthError};
use crate::crypto::TokenHash;
use crate::http::form::{Form, FormError};
use crate::http::{Inbound, Reply};

/// Of a form, in bytes.
const MAX_BODY: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Clients write base64 with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a request says about its sender. An identifier or secret comes in one or two readings.
struct Credentials {
    method: AuthMethod,
    readings: Vec<(String, String)>,
}

impl AuthorizationServer {
    /// The client that sends `form`, once it has proved who it is.
    pub(super) async fn authenticate_client(
        &self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<Client, OAuthError> {
        let credentials = Credentials::of(headers, form)?;
        for (id, secret) in &credentials.readings {
            let Some(client) = self.clients.find(id).await? else {
                continue;
            };
            if client.auth_method == credentials.method && proves(&client, secret) {
                return Ok(client);
            }
        }
        tracing::info!(
            method = credentials.method.as_str(),
            "a client was not recognised"
        );
        Err(unknown())
    }
}

/// Comparing digests tells a stopwatch nothing about the secret (A-083).
fn proves(client: &Client, secret: &str) -> bool {
    match client.auth_method {
        AuthMethod::None => true,
        _ => client.secret == Some(TokenHash::of(secret)),
    }
}

impl Credentials {
    fn of(headers: &HeaderMap, form: &Form) -> Result<Self, OAuthError> {
        let id = parameter(form, "client_id")?;
        let secret = parameter(form, "client_secret")?;
        if headers.contains_key(AUTHORIZATION) {
            let basic = Self::basic(headers)?;
            if secret.is_some() {
                return Err(invalid("the client authenticates in two ways at once"));
            }
            let agrees = |id: &str| basic.readings.iter().any(|(basic, _)| basic == id);
            return if id.is_none_or(agrees) {
                Ok(basic)
            } else {
                Err(invalid(
                    "client_id differs from that of the Authorization header",
                ))
            };
        }
        let id = id
            .ok_or_else(|| invalid("client_id is missing"))?
            .to_owned();
        let (method, secret) = match secret {
            Some(secret) => (AuthMethod::ClientSecretPost, secret.to_owned()),
            None => (AuthMethod::None, String::new()),
        };
        Ok(Self {
            method,
            readings: vec![(id, secret)],
        })
    }

    /// RFC 6749 §2.3.1 has both parts form-encoded before they are joined; the SDKs do not do it.
    /// Ours need no encoding, so the two readings of what we issued never differ (A-038, A-039).
    fn basic(headers: &HeaderMap) -> Result<Self, OAuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(invalid("there are two Authorization headers"));
        };
        let (id, secret) = decode_basic(value).ok_or_else(unknown)?;
        let mut readings = Vec::with_capacity(2);
        if let (Some(id), Some(secret)) = (form_decoded(&id), form_decoded(&secret)) {
            readings.push((id, secret));
        }
        if !readings.iter().any(|(i, s)| *i == id && *s == secret) {
            readings.push((id, secret));
        }
        Ok(Self {
            method: AuthMethod::ClientSecretBasic,
            readings,
        })
    }
}

/// Identifier and secret of a Basic header (RFC 7617 §2); the scheme in any case.
fn decode_basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim_start_matches(' ')).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    (!id.is_empty()).then(|| (id.to_owned(), secret.to_owned()))
}

/// One form-encoded value.
fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    let form = Form::parse(format!("value={text}").as_bytes()).ok()?;
    Some(form.get("value").ok()?.unwrap_or_default().to_owned())
}

/// The form of a POST. Its query is not looked at (A-082).
pub(super) async fn read_form(request: Inbound) -> Result<Form, OAuthError> {
    if !is_form(request.header(CONTENT_TYPE.as_str())) {
        return Err(invalid(
            "the Content-Type is not application/x-www-form-urlencoded",
        ));
    }
    let body = request.body.read(MAX_BODY, PATIENCE).await?;
    Form::parse(&body).map_err(|error| bad_form(&error))
}

/// Parameters of the media type are allowed, a second media type is not.
fn is_form(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|value| {
        let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
        let essence = essence.trim_matches([' ', '\t']);
        essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
            && !parameters.contains(',')
    })
}

/// A parameter that may come once (RFC 6749 §3.2).
pub(super) fn parameter<'f>(form: &'f Form, name: &str) -> Result<Option<&'f str>, OAuthError> {
    form.get(name).map_err(|error| bad_form(&error))
}

/// A parameter without which nothing can be done.
pub(super) fn required<'f>(
    form: &'f Form,
    name: &str,
    missing: &'static str,
) -> Result<&'f str, OAuthError> {
    parameter(form, name)?.ok_or_else(|| invalid(missing))
}

/// The refusal, with the challenge that belongs to a Basic header that was tried (RFC 6749 §5.2).
pub(super) fn refusal(error: &OAuthError, tried_basic: bool) -> Reply {
    let mut reply = error.reply();
    let headers = reply.headers_mut();
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    if tried_basic && error.code == ErrorCode::InvalidClient {
        let challenge = HeaderValue::from_static(r#"Basic realm="mcp-guard", charset="UTF-8""#);
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// Whether any Authorization header is one of the Basic scheme, however broken.
pub(super) fn tried_basic(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().any(|value| {
        let scheme = value.as_bytes().split(|&byte| byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
    })
}

fn bad_form(error: &FormError) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, error.to_string())
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}

fn unknown() -> OAuthError {
    OAuthError::new(
        ErrorCode::InvalidClient,
        "the client is unknown or did not authenticate",
    )
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD as PADDED, STANDARD_NO_PAD};

    use crate::oauth::Endpoint;
    use crate::oauth::fixture::{Answered, form};
    use crate::oauth::token_client::{FORM, TokenClient, basic, error};

    use super::*;

    /// An authenticated client is told that its code is bad; others do not get that far.
    const KNOWN: (u16, &str) = (400, "invalid_grant");
    const UNKNOWN: (u16, &str) = (401, "invalid_client");
    const MALFORMED: (u16, &str) = (400, "invalid_request");

    async fn ask(
        client: &TokenClient,
        authorization: &[&str],
        fields: &[(&str, &str)],
    ) -> Answered {
        let mut headers = vec![FORM];
        headers.extend(authorization.iter().map(|value| ("authorization", *value)));
        let mut all = vec![("grant_type", "authorization_code"), ("code", "mgc_x")];
        all.extend_from_slice(fields);
        client.post(Endpoint::Token, &headers, form(&all)).await
    }

    fn assert_error(answer: &Answered, (status, code): (u16, &str)) {
        assert_eq!(error(answer), (status, code.to_owned()), "{}", answer.body);
    }

    #[tokio::test]
    async fn a015_only_the_registered_method_is_accepted() {
        for registered in ["none", "client_secret_basic", "client_secret_post"] {
            let client = TokenClient::new(registered).await;
            let (id, secret) = (&client.id, &client.secret);
            let secret = if secret.is_empty() {
                "mgs_made_up"
            } else {
                secret
            };
            let basic = basic(id, secret);
            let answers = [
                ("none", ask(&client, &[], &[("client_id", id)]).await),
                ("client_secret_basic", ask(&client, &[&basic], &[]).await),
                (
                    "client_secret_post",
                    ask(
                        &client,
                        &[],
                        &[("client_id", id), ("client_secret", secret)],
                    )
                    .await,
                ),
            ];
            for (presented, answer) in answers {
                let expected = if presented == registered {
                    KNOWN
                } else {
                    UNKNOWN
                };
                assert_error(&answer, expected);
            }
        }
    }

    #[tokio::test]
    async fn a081_a_wrong_secret_and_an_unknown_client_get_the_same_answer() {
        let client = TokenClient::new("client_secret_basic").await;
        let wrong = ask(&client, &[&basic(&client.id, "mgs_wrong")], &[]).await;
        let unknown = ask(&client, &[&basic("mcp_unknown", &client.secret)], &[]).await;
        for answer in [&wrong, &unknown] {
            assert_error(answer, UNKNOWN);
            assert!(answer.header("www-authenticate").starts_with("Basic "));
        }
        assert_eq!(wrong.body, unknown.body);
    }

    #[tokio::test]
    async fn a081_without_basic_there_is_no_basic_challenge() {
        let client = TokenClient::new("client_secret_post").await;
        let fields = [
            ("client_id", client.id.as_str()),
            ("client_secret", "mgs_wrong"),
        ];
        let answer = ask(&client, &[], &fields).await;
        assert_error(&answer, UNKNOWN);
        assert!(answer.headers.get("www-authenticate").is_none());
        let answer = ask(&client, &[], &[("client_id", "mcp_unknown")]).await;
        assert_error(&answer, UNKNOWN);
    }

    #[tokio::test]
    async fn a038_basic_is_read_form_encoded_and_raw_padded_or_not() {
        let client = TokenClient::new("client_secret_basic").await;
        let encoded = |text: &str| text.replace('_', "%5F").replace('-', "%2d");
        let pair = format!("{}:{}", encoded(&client.id), encoded(&client.secret));
        let raw = format!("{}:{}", client.id, client.secret);
        for value in [
            format!("Basic {}", PADDED.encode(&pair)),
            format!("Basic {}", PADDED.encode(&raw)),
            format!("bAsIc {}", STANDARD_NO_PAD.encode(&raw)),
            format!("BASIC  {}", STANDARD_NO_PAD.encode(&pair)),
        ] {
            assert_error(&ask(&client, &[&value], &[]).await, KNOWN);
        }
    }

    #[tokio::test]
    async fn a081_malformed_basic_credentials_are_an_invalid_client_with_a_challenge() {
        let client = TokenClient::new("client_secret_basic").await;
        let encoded = |bytes: &[u8]| format!("Basic {}", PADDED.encode(bytes));
        let trailing = format!("{},", client.basic());
        for value in [
            "Basic",
            "Basic ",
            "Basic !!!",
            &encoded(b"\xff\xfe:x"),
            &encoded(b"no colon"),
            &encoded(b":secret"),
            &encoded(b"%zz:%zz"),
            &encoded(b"a&b=c:d&e"),
            &encoded(format!("{}:", client.id).as_bytes()),
            &encoded(format!("{}:{}:", client.id, client.secret).as_bytes()),
            &trailing,
        ] {
            let answer = ask(&client, &[value], &[]).await;
            assert_error(&answer, UNKNOWN);
            assert!(
                answer.header("www-authenticate").starts_with("Basic "),
                "{value}"
            );
        }
    }

    #[tokio::test]
    async fn a081_two_ways_at_once_are_a_malformed_request() {
        let client = TokenClient::new("client_secret_basic").await;
        let basic = client.basic();
        let secret = [("client_secret", client.secret.as_str())];
        assert_error(&ask(&client, &[&basic], &secret).await, MALFORMED);
        assert_error(&ask(&client, &[&basic, &basic], &[]).await, MALFORMED);
        let other = [("client_id", "mcp_other")];
        assert_error(&ask(&client, &[&basic], &other).await, MALFORMED);
        let same = [("client_id", client.id.as_str())];
        assert_error(&ask(&client, &[&basic], &same).await, KNOWN);
    }

    #[tokio::test]
    async fn a081_another_scheme_is_not_taken_for_a_public_client() {
        let client = TokenClient::new("none").await;
        let fields = [("client_id", client.id.as_str())];
        let answer = ask(&client, &["Bearer mga_x"], &fields).await;
        assert_error(&answer, UNKNOWN);
        assert!(answer.headers.get("www-authenticate").is_none());
        assert_error(&ask(&client, &[], &[]).await, MALFORMED);
    }
}
