//! Token revocation (RFC 7009). Whoever does not own a token learns nothing about it: the answer is
//! 200 whatever it was.

use hyper::header::{CACHE_CONTROL, HeaderValue, PRAGMA};

use super::AuthorizationServer;
use super::client_authentication::{parameter, read_form, refusal, required, tried_basic};
use super::error::OAuthError;
use crate::http::{Body, Inbound, Reply};

impl AuthorizationServer {
    pub(super) async fn revoke(&self, request: Inbound) -> Reply {
        let tried_basic = tried_basic(&request.headers);
        match self.try_revoke(request).await {
            Ok(()) => done(),
            Err(error) => refusal(&error, tried_basic),
        }
    }

    async fn try_revoke(&self, request: Inbound) -> Result<(), OAuthError> {
        let headers = request.headers.clone();
        let form = read_form(request).await?;
        let client = self.authenticate_client(&headers, &form).await?;
        let token = required(&form, "token", "token is missing")?;
        // A hint is not needed: our tokens say what they are. Repeated, it still is an error.
        parameter(&form, "token_type_hint")?;
        Ok(self.grants.revoke_token(token, &client.id).await?)
    }
}

fn done() -> Reply {
    let mut reply = Reply::new(Body::empty());
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    reply
}
