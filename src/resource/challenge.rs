//! The challenge (RFC 6750 §3, RFC 9728 §5.1): what a client reads to learn where to get a token.
//! One header, quoted values, an absolute URL; `error` only if there was a token to find fault with,
//! since clients sign in anew on the one and start over on the other.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use super::Denied;
use crate::http::{Body, Reply, full};

/// The one scope there is; all that the metadata and the challenge ask for (A-007).
pub(super) const SCOPE: &str = "mcp";

/// Seconds until a client may ask again while the store does not answer.
const RETRY_SECONDS: u16 = 5;

/// The parts of every challenge that do not change.
pub(super) struct Challenge {
    /// `resource_metadata="…", scope="…"`.
    parameters: String,
}

impl Challenge {
    /// `metadata_url` is the RFC 9728 document's path-inserted URL.
    pub(super) fn new(metadata_url: &str) -> Self {
        Self {
            parameters: format!(r#"resource_metadata="{metadata_url}", scope="{SCOPE}""#),
        }
    }

    /// The answer to a request that is not let in: on `page`, if a person is to read it.
    pub(super) fn refuse(&self, denied: Denied, page: Option<Reply>) -> Reply {
        let mut reply = page.unwrap_or_else(|| document(denied));
        *reply.status_mut() = status(denied);
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if denied == Denied::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
        } else {
            headers.insert(WWW_AUTHENTICATE, self.header(denied));
        }
        reply
    }

    fn header(&self, denied: Denied) -> HeaderValue {
        let parameters = &self.parameters;
        let text = match error(denied) {
            None => format!("Bearer {parameters}"),
            Some((code, description)) => {
                format!(r#"Bearer error="{code}", error_description="{description}", {parameters}"#)
            }
        };
        // A URL that parsed as one is ASCII.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Bearer"))
    }
}

/// What a client reads, besides the challenge.
fn document(denied: Denied) -> Reply {
    let Some((code, description)) = error(denied) else {
        return Reply::new(Body::empty());
    };
    let members = json!({ "error": code, "error_description": description });
    let mut reply = Reply::new(full(members.to_string()));
    let json = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, json);
    reply
}

const fn status(denied: Denied) -> StatusCode {
    match denied {
        Denied::NoToken | Denied::InvalidToken => StatusCode::UNAUTHORIZED,
        Denied::InvalidRequest(_) => StatusCode::BAD_REQUEST,
        Denied::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// RFC 6750 §3.1, and a description for the client's developer.
const fn error(denied: Denied) -> Option<(&'static str, &'static str)> {
    match denied {
        Denied::NoToken => None,
        Denied::InvalidToken => Some(("invalid_token", "the access token is not valid here")),
        Denied::InvalidRequest(what) => Some(("invalid_request", what)),
        Denied::Unavailable => Some((
            "temporarily_unavailable",
            "the token cannot be checked at the moment",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://guard.test/.well-known/oauth-protected-resource/mcp";

    fn refuse(denied: Denied) -> Reply {
        Challenge::new(URL).refuse(denied, None)
    }

    fn text(reply: Reply) -> String {
        match reply.into_body() {
            Body::Full(bytes) => String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap(),
            Body::Stream(_) => panic!("a whole body"),
        }
    }

    #[test]
    fn a087_without_a_token_the_challenge_names_no_error() {
        let reply = refuse(Denied::NoToken);
        assert_eq!(reply.status(), 401);
        let expected = format!(r#"Bearer resource_metadata="{URL}", scope="mcp""#);
        assert_eq!(reply.headers()["www-authenticate"], expected);
        assert_eq!(reply.headers()["cache-control"], "no-store");
        assert_eq!(text(reply), "");
    }

    #[test]
    fn a088_a_bad_token_is_named_as_the_error() {
        let reply = refuse(Denied::InvalidToken);
        assert_eq!(reply.status(), 401);
        let challenge = reply.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with(r#"Bearer error="invalid_token", error_description=""#));
        assert!(challenge.ends_with(&format!(r#"resource_metadata="{URL}", scope="mcp""#)));
        assert!(text(reply).contains(r#""error":"invalid_token""#));
    }

    #[test]
    fn a092_two_credentials_are_the_requests_fault() {
        let reply = refuse(Denied::InvalidRequest("two Authorization headers"));
        assert_eq!(reply.status(), 400);
        assert_eq!(reply.headers()["content-type"], "application/json");
        assert!(text(reply).contains("two Authorization headers"));
    }

    #[test]
    fn trouble_of_ours_is_no_reason_to_sign_in_again() {
        let reply = refuse(Denied::Unavailable);
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers()["retry-after"], "5");
        assert!(!reply.headers().contains_key("www-authenticate"));
    }

    #[test]
    fn a_person_gets_a_page_with_the_same_status_and_challenge() {
        let mut page = Reply::new(full("<!doctype html>"));
        let html = HeaderValue::from_static("text/html");
        page.headers_mut().insert(CONTENT_TYPE, html);
        let reply = Challenge::new(URL).refuse(Denied::NoToken, Some(page));
        assert_eq!(reply.status(), 401);
        assert!(reply.headers().contains_key("www-authenticate"));
        assert_eq!(reply.headers()["content-type"], "text/html");
        assert_eq!(text(reply), "<!doctype html>");
    }

    #[test]
    fn a104_every_challenge_is_one_header_of_quoted_values() {
        for denied in [
            Denied::NoToken,
            Denied::InvalidToken,
            Denied::InvalidRequest("x"),
        ] {
            let reply = refuse(denied);
            let all: Vec<_> = reply.headers().get_all("www-authenticate").iter().collect();
            assert_eq!(all.len(), 1);
            let parameters = all[0].to_str().unwrap().strip_prefix("Bearer ").unwrap();
            for parameter in parameters.split(", ") {
                let (_, value) = parameter.split_once('=').unwrap();
                assert!(
                    value.starts_with('"') && value.ends_with('"'),
                    "{parameter}"
                );
            }
        }
    }
}
