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

#[cfg(test)]
mod tests {

    use crate::crypto::TokenHash;
    use crate::oauth::Endpoint;
    use crate::oauth::fixture::form;
    use crate::oauth::token_client::{FORM, TokenClient, error};

    async fn works(client: &TokenClient, token: &str) -> bool {
        let found = client.running.grants.access_token(TokenHash::of(token));
        found.await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a084_unknown_tokens_are_a_success() {
        let client = TokenClient::new("none").await;
        for token in ["x", "mga_", "mgr_a.b", &"y".repeat(10_000)] {
            let answer = client.revoke(token).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
        }
    }

    #[tokio::test]
    async fn a084_a_client_revokes_its_own_tokens() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        let access = pair["access_token"].as_str().unwrap();
        let refresh = pair["refresh_token"].as_str().unwrap();
        assert_eq!(client.revoke(access).await.status, 200);
        assert!(!works(&client, access).await);
        let next = client.refresh(refresh, &[]).await.json();
        // The hint may say anything.
        let fields = [
            ("token", refresh),
            ("token_type_hint", "access_token"),
            ("client_id", &client.id),
        ];
        let answer = client.post(Endpoint::Revoke, &[FORM], form(&fields)).await;
        assert_eq!(answer.status, 200);
        assert!(!works(&client, next["access_token"].as_str().unwrap()).await);
        let answer = client
            .refresh(next["refresh_token"].as_str().unwrap(), &[])
            .await;
        assert_eq!(error(&answer), (400, "invalid_grant".to_owned()));
    }

    #[tokio::test]
    async fn a084_another_clients_tokens_are_untouched_and_the_answer_is_the_same() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        let redirects = ["http://localhost:1/cb"];
        let stranger = client.running.client(&redirects).await;
        for name in ["access_token", "refresh_token"] {
            let fields = [
                ("token", pair[name].as_str().unwrap()),
                ("client_id", &stranger),
            ];
            let answer = client.post(Endpoint::Revoke, &[FORM], form(&fields)).await;
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
        }
        assert!(works(&client, pair["access_token"].as_str().unwrap()).await);
    }

    #[tokio::test]
    async fn a084_only_a_client_may_revoke() {
        let client = TokenClient::new("client_secret_post").await;
        let answer = client.revoke("x").await;
        assert_eq!(error(&answer), (401, "invalid_client".to_owned()));
        let body = form(&[("client_id", &client.id), ("client_secret", &client.secret)]);
        let answer = client.post(Endpoint::Revoke, &[FORM], body).await;
        assert_eq!(error(&answer), (400, "invalid_request".to_owned()));
    }

    #[tokio::test]
    async fn a_revocation_that_the_store_refuses_is_no_success() {
        let client = TokenClient::new("none").await;
        let pair = client.pair().await;
        client.running.store.close().await;
        let answer = client.revoke(pair["access_token"].as_str().unwrap()).await;
        assert_eq!(answer.status, 503);
    }
}
