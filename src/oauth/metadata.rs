//! The authorization server's metadata (RFC 8414), also served under the well-known name of `OpenID`
//! Connect for clients that look only there. It promises nothing that is not so: a client chooses
//! its way by what stands here (threat case A-002).

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use serde_json::{Value, json};

use crate::http::Reply;

use super::error::json as json_reply;
use super::scope::{MCP, OFFLINE_ACCESS};
use super::{AuthorizationServer, RegistrationPolicy, Settings};

/// The grants there are, for metadata and registration.
pub(super) const GRANT_TYPES: [&str; 2] = ["authorization_code", "refresh_token"];

impl AuthorizationServer {
    pub(super) fn metadata(&self) -> Reply {
        let mut reply = json_reply(StatusCode::OK, &document(&self.settings));
        reply.headers_mut().insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        );
        reply
    }
}

/// Every URL is made from the external URL, whatever the request said.
fn document(settings: &Settings) -> Value {
    let url = |path| settings.external_url.join(path);
    let auth_methods = ["none", "client_secret_basic", "client_secret_post"];
    let mut document = json!({
        "issuer": settings.external_url.as_str(),
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "revocation_endpoint": url("/revoke"),
        "scopes_supported": [MCP, OFFLINE_ACCESS],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GRANT_TYPES,
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": auth_methods,
        "revocation_endpoint_auth_methods_supported": auth_methods,
        "authorization_response_iss_parameter_supported": true,
        "client_id_metadata_document_supported": false,
    });
    let open = !matches!(settings.registration, RegistrationPolicy::Off);
    if let (true, Some(members)) = (open, document.as_object_mut()) {
        members.insert("registration_endpoint".into(), url("/register").into());
    }
    document
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::super::fixture::guard;
    use super::*;

    #[tokio::test]
    async fn a001_a002_the_document_is_exactly_what_is_so() {
        let running = guard().start();
        let headers = [("host", "evil.test"), ("x-forwarded-host", "evil.test")];
        let target = "/.well-known/oauth-authorization-server";
        let answer = running.send(Endpoint::Metadata, target, &headers, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let expected = json!({
            "issuer": "https://guard.test",
            "authorization_endpoint": "https://guard.test/authorize",
            "token_endpoint": "https://guard.test/token",
            "registration_endpoint": "https://guard.test/register",
            "revocation_endpoint": "https://guard.test/revoke",
            "scopes_supported": ["mcp", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported":
                ["none", "client_secret_basic", "client_secret_post"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": false,
        });
        assert_eq!(answer.json(), expected);
    }

    #[tokio::test]
    async fn a003_the_issuer_is_the_external_url_without_a_trailing_slash() {
        let mut deep = guard();
        deep.external_url = "https://guard.test:8443/team/";
        let document = document(&deep.start().server.settings);
        assert_eq!(document["issuer"], "https://guard.test:8443/team");
        assert_eq!(
            document["token_endpoint"],
            "https://guard.test:8443/team/token"
        );
    }

    #[tokio::test]
    async fn registration_is_not_advertised_when_it_is_off() {
        let mut off = guard();
        off.registration = RegistrationPolicy::Off;
        let document = document(&off.start().server.settings);
        assert!(document.get("registration_endpoint").is_none());
    }
}
