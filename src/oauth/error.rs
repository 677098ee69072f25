//! The one place that turns a failure into the OAuth error JSON of RFC 6749 §5.2 and RFC 7591
//! §3.2.2. Clients act on the code: they delete credentials on `invalid_client` and `invalid_grant`,
//! so trouble of ours is always a 503 with `Retry-After` (design rule D-07).

use std::borrow::Cow;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value};

use crate::http::{BodyError, Reply, full};
use crate::store::StoreError;

/// How long a client should wait when the store does not answer.
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// The error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 6750 §3.1, RFC 7591 §3.2.2, RFC 8707 §2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    AccessDenied,
    InvalidClient,
    InvalidClientMetadata,
    InvalidGrant,
    InvalidRedirectUri,
    InvalidRequest,
    InvalidScope,
    InvalidTarget,
    InvalidToken,
    TemporarilyUnavailable,
    UnsupportedGrantType,
    UnsupportedResponseType,
}

impl ErrorCode {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::InvalidClient => "invalid_client",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidToken => "invalid_token",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
        }
    }

    /// The status that goes with the code unless the error says otherwise.
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidClient | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::AccessDenied => StatusCode::FORBIDDEN,
            Self::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// A refusal on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OAuthError {
    pub(super) code: ErrorCode,
    /// For the client's developer.
    pub(super) description: Cow<'static, str>,
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
}

impl OAuthError {
    /// With the status that belongs to the code.
    pub(super) fn new(code: ErrorCode, description: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            description: description.into(),
            status: code.status(),
            retry_after: None,
        }
    }

    /// The same with another status.
    pub(super) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// 503: our trouble, not the client's.
    pub(super) fn unavailable(description: &'static str, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::TemporarilyUnavailable, description)
        }
    }

    /// 429: this source asked too often.
    pub(super) fn too_many(retry_after: Duration) -> Self {
        Self::unavailable("too many requests from this address", retry_after)
            .with_status(StatusCode::TOO_MANY_REQUESTS)
    }

    /// The JSON answer.
    pub(super) fn reply(&self) -> Reply {
        let mut members = Map::new();
        members.insert("error".into(), self.code.as_str().into());
        members.insert("error_description".into(), clean(&self.description).into());
        let mut reply = json(self.status, &Value::Object(members));
        if let Some(wait) = self.retry_after {
            reply.headers_mut().insert(RETRY_AFTER, retry_after(wait));
        }
        reply
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        Self::unavailable("the server cannot reach its store", RETRY)
    }
}

impl From<BodyError> for OAuthError {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
            BodyError::Broken => StatusCode::BAD_REQUEST,
        };
        Self::new(ErrorCode::InvalidRequest, error.to_string()).with_status(status)
    }
}

/// A JSON answer that no cache may keep.
pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    let mut reply = Reply::new(full(value.to_string()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// `Retry-After` in whole seconds, at least one.
pub(super) fn retry_after(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// `error_description` may hold printable ASCII without `"` and `\` only (RFC 6749 §5.2).
pub(super) fn clean(description: &str) -> String {
    description
        .chars()
        .map(|c| match c {
            '"' => '\'',
            ' '..='~' if c != '\\' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Body;

    fn text(reply: Reply) -> String {
        match reply.into_body() {
            Body::Full(Some(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            _ => panic!("a whole body"),
        }
    }

    #[test]
    fn an_error_is_uncacheable_json_with_the_rfcs_members() {
        let reply = OAuthError::new(ErrorCode::InvalidGrant, "the code has expired").reply();
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.headers()["content-type"], "application/json");
        assert_eq!(reply.headers()["cache-control"], "no-store");
        assert_eq!(
            text(reply),
            r#"{"error":"invalid_grant","error_description":"the code has expired"}"#
        );
    }

    #[test]
    fn trouble_of_the_store_is_a_503_that_names_a_time() {
        let error = OAuthError::from(StoreError::Unavailable("disk full at /secret".into()));
        let reply = error.reply();
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers()["retry-after"], "5");
        assert!(!text(reply).contains("/secret"));
    }

    #[test]
    fn retry_after_rounds_up_and_is_never_zero() {
        assert_eq!(retry_after(Duration::ZERO), "1");
        assert_eq!(retry_after(Duration::from_millis(1001)), "2");
    }

    #[test]
    fn a_description_keeps_to_the_characters_of_rfc_6749() {
        assert_eq!(clean("a \"b\" \\ é\n"), "a 'b' ? ??");
    }
}
