//! The protected resource's metadata (RFC 9728): which authorization server to ask for a token.

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::json;

use super::challenge::SCOPE;
use crate::grant::ResourceUri;
use crate::http::{ExternalUrl, Reply, full};

/// The document, written once: nothing in it depends on a request.
pub(super) struct Metadata(Bytes);

impl Metadata {
    pub(super) fn new(resource: &ResourceUri, issuer: &ExternalUrl) -> Self {
        let document = json!({
            "resource": resource,
            "authorization_servers": [issuer.as_str()],
            "scopes_supported": [SCOPE],
            "bearer_methods_supported": ["header"],
        });
        Self(document.to_string().into())
    }

    pub(super) fn reply(&self) -> Reply {
        let mut reply = Reply::new(full(self.0.clone()));
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=300"),
        );
        reply
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::http::Body;

    #[test]
    fn a001_the_document_names_the_resource_and_its_issuer() {
        let issuer = ExternalUrl::parse("https://guard.test:8443/team/").unwrap();
        let resource = ResourceUri(issuer.join("/mcp"));
        let reply = Metadata::new(&resource, &issuer).reply();
        assert_eq!(reply.headers()["content-type"], "application/json");
        let Body::Full(Some(bytes)) = reply.into_body() else {
            panic!("a whole body");
        };
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            document,
            json!({
                "resource": "https://guard.test:8443/team/mcp",
                "authorization_servers": ["https://guard.test:8443/team"],
                "scopes_supported": ["mcp"],
                "bearer_methods_supported": ["header"],
            })
        );
    }
}
