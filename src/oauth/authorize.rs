//! The authorization endpoint (OAuth 2.1 §4.1.1): judges a request and, if it is good, shows the
//! consent page. Nothing is stored: the page carries the whole request, sealed, and bound to the
//! browser (design rules D-10, D-11; threat cases ).
//!
//! The order matters: until the client and its redirect URI are known to belong together,
//! errors are shown here and never sent anywhere.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::SET_COOKIE;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::crypto::Purpose;
use crate::grant::{ClientId, CodeChallenge, ResourceUri, Scopes};
use crate::http::form::{Form, FormError};
use crate::http::{Inbound, Reply};
use crate::identity::ProviderKind;
use crate::pages::{self, Consent, display_name};
use crate::policy::rate_limit::RateLimit;

use super::answer::Answer;
use super::browser::Browser;
use super::client::Client;
use super::error::{ErrorCode, OAuthError};
use super::problem::Problem;
use super::redirect_uri::{Destination, RedirectUri};
use super::{AuthorizationServer, Settings, scope, target};

/// The longest query, in bytes.
pub(super) const MAX_QUERY: usize = 8 * 1024;
/// How long a consent page may be answered.
pub(super) const PAGE_LIFETIME: Duration = Duration::from_mins(10);

/// Requests from one network. Each is a person at a browser, but a large office may share an address,
/// and hosted clients open the page anew for every connection (D-42).
const BURST: u32 = 1200;
const PER_SECOND: f64 = 20.0;
const MAX_NETWORKS: usize = 10_000;

/// The limit on one network.
pub(super) fn rate_limit() -> RateLimit {
    RateLimit::new(BURST, PER_SECOND, MAX_NETWORKS)
}

/// A request that was found good and waits for a person. This is what the page carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AuthorizationRequest {
    pub(super) client: ClientId,
    pub(super) redirect_uri: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) state: Option<String>,
    pub(super) code_challenge: CodeChallenge,
    pub(super) scopes: Scopes,
    pub(super) resource: ResourceUri,
    pub(super) expires_at: Timestamp,
}

impl AuthorizationServer {
    pub(super) async fn authorize(&self, request: Inbound) -> Reply {
        match self.try_authorize(&request).await {
            Ok(reply) => reply,
            Err(problem) => problem.page(&self.settings.server_name),
        }
    }

    async fn try_authorize(&self, request: &Inbound) -> Result<Reply, Problem> {
        let in_time = self.authorizations.check(request.client);
        in_time.map_err(Problem::TooMany)?;
        let query = request.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Problem::QueryTooLong);
        }
        let form = Form::parse(query.as_bytes()).map_err(|_| Problem::Malformed)?;
        let client = self.known_client(&form).await?;
        let redirect_uri = self.known_redirect_uri(&form, &client)?;

        // From here on the client can be told. A repeated state is no state.
        let judged = self.judge(&form, &client, &redirect_uri);
        let client_name = client.name.as_deref().and_then(display_name);
        let answer = Answer {
            server: self,
            redirect_uri: &redirect_uri,
            state: form.get("state").ok().flatten(),
            client_name: client_name.as_deref(),
        };
        let pending = match judged {
            Ok(pending) => pending,
            Err(error) => return Ok(answer.error(&error)),
        };
        let external = &self.settings.external_url;
        let browser = Browser::recognise(&request.headers, external)
            .unwrap_or_else(|| Browser::new(external));
        let sealed = self.seal(&pending, &browser);
        let page = ConsentPage::new(&pending, &sealed, &redirect_uri, answer.client_name);
        let mut reply = self.show(StatusCode::OK, &page);
        if let Some(cookie) = browser.set_cookie() {
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        Ok(reply)
    }

    async fn known_client(&self, form: &Form) -> Result<Client, Problem> {
        let id = form.get("client_id").map_err(|_| Problem::Malformed)?;
        let id = id.ok_or(Problem::Malformed)?;
        self.clients.find(id).await?.ok_or(Problem::UnknownClient)
    }

    /// The redirect URI asked for, if the client registered it, or its only one if it asks for
    /// none (OAuth 2.1 §2.3.3).
    fn known_redirect_uri(&self, form: &Form, client: &Client) -> Result<RedirectUri, Problem> {
        let asked = form.get("redirect_uri").map_err(|_| Problem::Malformed)?;
        let asked = match (asked, client.redirect_uris.as_slice()) {
            (Some(asked), _) => asked,
            (None, [only]) => only,
            (None, _) => return Err(Problem::Malformed),
        };
        let asked = RedirectUri::parse(asked).map_err(|_| Problem::ForeignRedirectUri)?;
        let allowed = &self.settings.allowed_redirect_uris;
        let covered = client
            .redirect_uris
            .iter()
            .filter_map(|text| RedirectUri::parse(text).ok())
            .any(|known| known.covers(&asked) && known.is_allowed_by(allowed));
        if covered {
            Ok(asked)
        } else {
            Err(Problem::ForeignRedirectUri)
        }
    }

    /// Everything whose failure the client may hear of.
    fn judge(
        &self,
        form: &Form,
        client: &Client,
        redirect_uri: &RedirectUri,
    ) -> Result<AuthorizationRequest, OAuthError> {
        let state = once(form, "state")?;
        match once(form, "response_type")? {
            Some("code") => {}
            Some(_) => return Err(unsupported("the only response_type here is code")),
            None => return Err(invalid("response_type is missing")),
        }
        if !matches!(once(form, "response_mode")?, None | Some("query")) {
            return Err(invalid("the only response_mode here is query"));
        }
        let challenge = once(form, "code_challenge")?;
        let method = once(form, "code_challenge_method")?;
        let code_challenge = CodeChallenge::parse(challenge, method).map_err(invalid)?;
        self.check_resource(form)?;
        Ok(AuthorizationRequest {
            client: client.id.clone(),
            redirect_uri: redirect_uri.as_str().to_owned(),
            state: state.map(str::to_owned),
            code_challenge,
            scopes: scope::narrow(once(form, "scope")?),
            resource: self.settings.resource.clone(),
            expires_at: self.clock.now().after(PAGE_LIFETIME),
        })
    }

    /// RFC 8707 §2; older clients send none. RFC 8707 lets `resource` repeat, but a token here is
    /// good for one resource.
    fn check_resource(&self, form: &Form) -> Result<(), OAuthError> {
        let Settings {
            resource,
            external_url,
            ..
        } = &self.settings;
        match form.get("resource") {
            Ok(None) => Ok(()),
            Ok(Some(asked)) if target::names(asked, resource, external_url) => Ok(()),
            _ => Err(OAuthError::new(
                ErrorCode::InvalidTarget,
                "the resource is not the one that this server guards",
            )),
        }
    }

    pub(super) fn seal(&self, pending: &AuthorizationRequest, browser: &Browser) -> String {
        // A struct of strings and numbers always serialises.
        let plain = serde_json::to_vec(pending).unwrap_or_default();
        let binding = browser.binding();
        self.keyring
            .seal(Purpose::Authorization, binding.as_bytes(), &plain)
    }

    /// What [`Self::seal`] sealed for this browser, unless it is too old.
    pub(super) fn unseal(&self, sealed: &str, browser: &Browser) -> Option<AuthorizationRequest> {
        let binding = browser.binding();
        let plain = self
            .keyring
            .open(Purpose::Authorization, binding.as_bytes(), sealed)?;
        let pending: AuthorizationRequest = serde_json::from_slice(&plain).ok()?;
        (self.clock.now() < pending.expires_at).then_some(pending)
    }

    /// Shows the consent page, at first and after a sign-in that failed.
    pub(super) fn show(&self, status: StatusCode, page: &ConsentPage<'_>) -> Reply {
        let prefix = self.settings.external_url.prefix();
        let choices = self.identity.choices();
        let providers: Vec<pages::Provider<'_>> = choices
            .iter()
            .map(|(kind, name)| pages::Provider {
                key: kind.name(),
                name,
                other_account: page.refused == Some(*kind),
            })
            .collect();
        let local = self.identity.local();
        let password_action = format!("{prefix}/.auth/password");
        let password = pages::Password {
            action: &password_action,
            name: local.asks_for_name().then_some(page.name),
            was_wrong: page.was_wrong,
        };
        let consent = Consent {
            server_name: &self.settings.server_name,
            destination: match page.redirect_uri.destination() {
                Destination::Web(host) => pages::Destination::Web(host),
                Destination::Loopback(host) => pages::Destination::Loopback(host),
                Destination::App(scheme) => pages::Destination::App(scheme),
            },
            client_name: page.client_name,
            resource: &page.request.resource.0,
            permissions: &scope::in_words(&page.request.scopes),
            providers: &providers,
            continue_action: &format!("{prefix}/.auth/continue"),
            password: (!local.is_empty()).then_some(password),
            sealed_request: page.sealed,
            problem: page.problem,
        };
        pages::html(status, consent.html())
    }
}

/// What one rendering of the consent page differs in from another.
pub(super) struct ConsentPage<'a> {
    request: &'a AuthorizationRequest,
    sealed: &'a str,
    redirect_uri: &'a RedirectUri,
    client_name: Option<&'a str>,
    /// What was typed as user name.
    pub(super) name: &'a str,
    /// Whether name or password were.
    pub(super) was_wrong: bool,
    /// Whose account was not let in.
    pub(super) refused: Option<ProviderKind>,
    pub(super) problem: Option<&'a str>,
}

impl<'a> ConsentPage<'a> {
    pub(super) const fn new(
        request: &'a AuthorizationRequest,
        sealed: &'a str,
        redirect_uri: &'a RedirectUri,
        client_name: Option<&'a str>,
    ) -> Self {
        Self {
            request,
            sealed,
            redirect_uri,
            client_name,
            name: "",
            was_wrong: false,
            refused: None,
            problem: None,
        }
    }
}

/// A parameter that may come once.
fn once<'f>(form: &'f Form, name: &str) -> Result<Option<&'f str>, OAuthError> {
    let repeated = |error: FormError| OAuthError::new(ErrorCode::InvalidRequest, error.to_string());
    form.get(name).map_err(repeated)
}

fn invalid(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidRequest, description)
}

fn unsupported(description: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::UnsupportedResponseType, description)
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::super::fixture::{guard, query};

    const LOOPBACK: &str = "http://localhost/callback";

    #[tokio::test]
    async fn the_page_shows_who_asks_for_what() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        let answer = running
            .authorize(&client, &[("scope", "mcp offline_access")])
            .await;
        assert_eq!(answer.status, 200);
        for text in [
            "Some app",
            "unverified",
            "localhost:3118",
            "https://guard.test/mcp",
            "Stay connected",
            "action=\"/.auth/password\"",
        ] {
            assert!(answer.body.contains(text), "{text} is missing");
        }
        assert!(answer.header("set-cookie").starts_with("__Host-mg-b="));
    }

    #[tokio::test]
    async fn a_network_that_asks_too_often_is_told_to_wait_on_a_page() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        let mut last = running.authorize(&client, &[]).await;
        for _ in 0..10_000 {
            if last.status == 429 {
                break;
            }
            last = running.authorize(&client, &[]).await;
        }
        assert_eq!(last.status, 429);
        assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(last.header("content-type").starts_with("text/html"));
        let target = format!("/authorize?{}", query(&client, &[]));
        let elsewhere = "198.51.100.7".parse().unwrap();
        let answer = running.send_from(elsewhere, Endpoint::Authorize, &target, &[], "");
        assert_eq!(answer.await.status, 200);
    }

    #[tokio::test]
    async fn a032_nothing_is_sent_to_a_redirect_uri_that_is_not_the_clients() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK, "https://a.test/cb"]).await;
        for changes in [
            [("client_id", "mcp_AAAAAAAAAAAAAAAAAAAAAA")],
            [("client_id", "../grant/x")],
            [("client_id", "")],
            [("redirect_uri", "https://evil.test/cb")],
            [("redirect_uri", "http://127.0.0.1:3118/callback")],
            [("redirect_uri", "https://a.test/cb/")],
            [("redirect_uri", "javascript:alert(1)")],
            [("redirect_uri", "")],
        ] {
            let answer = running.authorize(&client, &changes).await;
            assert_eq!(answer.status, 400, "{changes:?}");
            assert!(!answer.headers.contains_key("location"));
            assert!(answer.header("content-type").starts_with("text/html"));
            assert!(!answer.body.contains("evil") && !answer.body.contains("href"));
            assert_eq!(answer.header("x-frame-options"), "DENY");
        }
    }

    #[tokio::test]
    async fn the_only_registered_redirect_uri_need_not_be_named() {
        let running = guard().start();
        let client = running.client(&["https://only.test/cb"]).await;
        let answer = running.authorize(&client, &[("redirect_uri", "")]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("only.test"));
    }

    #[tokio::test]
    async fn a035_every_repeated_parameter_is_an_error() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        let good = query(&client, &[("response_mode", "query")]);
        for name in [
            "response_type",
            "response_mode",
            "code_challenge",
            "code_challenge_method",
            "scope",
            "state",
            "resource",
        ] {
            let target = format!("/authorize?{good}&{name}=x");
            let answer = running.send(Endpoint::Authorize, &target, &[], "").await;
            assert_eq!(answer.status, 303, "{name}");
            let expected = if name == "resource" {
                "invalid_target"
            } else {
                "invalid_request"
            };
            assert_eq!(answer.sent("error").unwrap(), expected, "{name}");
            let state = if name == "state" {
                None
            } else {
                Some("a b&c".to_owned())
            };
            assert_eq!(answer.sent("state"), state);
        }
        for name in ["client_id", "redirect_uri"] {
            let target = format!("/authorize?{good}&{name}=x");
            let answer = running.send(Endpoint::Authorize, &target, &[], "").await;
            assert_eq!(answer.status, 400, "{name}");
        }
        let unknown = format!("/authorize?{good}&prompt=consent&nonce=1&audience=x&audience=y");
        let answer = running.send(Endpoint::Authorize, &unknown, &[], "").await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn a035_the_query_is_bounded() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        let answer = running
            .authorize(&client, &[("state", &"x".repeat(8 * 1024))])
            .await;
        assert_eq!(answer.status, 414);
        let answer = running
            .authorize(&client, &[("state", &"x".repeat(7 * 1024))])
            .await;
        assert_eq!(answer.status, 200);
    }

    #[tokio::test]
    async fn a036_errors_go_by_themselves_to_loopback_and_by_a_link_elsewhere() {
        let running = guard().start();
        let client = running
            .client(&[LOOPBACK, "https://evil.test/cb?x=1"])
            .await;
        let bad = ("response_type", "token");
        let answer = running.authorize(&client, &[bad]).await;
        assert_eq!(answer.status, 303);
        assert_eq!(answer.sent("error").unwrap(), "unsupported_response_type");
        assert_eq!(answer.sent("state").unwrap(), "a b&c");
        assert_eq!(answer.sent("iss").unwrap(), "https://guard.test");
        assert_eq!(answer.header("cache-control"), "no-store");

        let elsewhere = [bad, ("redirect_uri", "https://evil.test/cb?x=1")];
        let answer = running.authorize(&client, &elsewhere).await;
        assert_eq!(answer.status, 400);
        assert!(!answer.headers.contains_key("location"));
        assert!(!answer.body.contains("http-equiv"));
        assert!(answer.body.contains("Return to evil.test"));
        assert!(
            answer
                .body
                .contains("cb?x=1&#38;error=unsupported_response_type&#38;")
        );
    }

    #[tokio::test]
    async fn a037_pkce_with_s256_is_required() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        for changes in [
            ("code_challenge", ""),
            ("code_challenge", "short"),
            (
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=",
            ),
            ("code_challenge_method", ""),
            ("code_challenge_method", "plain"),
            ("code_challenge_method", "s256"),
        ] {
            let answer = running.authorize(&client, &[changes]).await;
            assert_eq!(
                answer.sent("error").unwrap(),
                "invalid_request",
                "{changes:?}"
            );
        }
    }

    #[tokio::test]
    async fn a038_only_code_in_the_query() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        for (name, value, error) in [
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "id_token", "unsupported_response_type"),
            ("response_type", "code token", "unsupported_response_type"),
            ("response_type", "", "invalid_request"),
            ("response_mode", "fragment", "invalid_request"),
            ("response_mode", "form_post", "invalid_request"),
            ("response_mode", "web_message", "invalid_request"),
        ] {
            let answer = running.authorize(&client, &[(name, value)]).await;
            assert_eq!(answer.sent("error").unwrap(), error, "{name}={value}");
            assert!(!answer.header("location").contains('#'));
        }
    }

    #[tokio::test]
    async fn a042_parameters_are_never_reflected() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK, "https://a.test/cb"]).await;
        let evil = "\"><svg onload=1>";
        for name in [
            "client_id",
            "redirect_uri",
            "state",
            "scope",
            "resource",
            "code_challenge",
        ] {
            for redirect_uri in ["https://a.test/cb", "http://localhost:1/callback"] {
                let changes = [("redirect_uri", redirect_uri), (name, evil)];
                let answer = running.authorize(&client, &changes).await;
                assert!(!answer.body.contains("<svg onload"), "{name}");
                assert!(!answer.header("location").contains('<'), "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a045_a_thousand_pages_leave_no_record_and_one_cookie() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        let first = running.authorize(&client, &[]).await.page();
        let target = format!("/authorize?{}", query(&client, &[]));
        for _ in 0..1000 {
            let headers = [("cookie", first.cookie.as_str())];
            let answer = running
                .send(Endpoint::Authorize, &target, &headers, "")
                .await;
            assert_eq!(answer.page().cookie, first.cookie);
        }
        let records = running.store.scan("", None, 100).await.unwrap();
        assert_eq!(records.len(), 1, "the client alone");
    }

    #[tokio::test]
    async fn a051_another_resource_is_an_invalid_target() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        for good in ["", "https://guard.test", "https://Guard.test/mcp/"] {
            let answer = running.authorize(&client, &[("resource", good)]).await;
            assert_eq!(answer.status, 200, "{good}");
        }
        let answer = running
            .authorize(&client, &[("resource", "https://guard.test/x")])
            .await;
        assert_eq!(answer.sent("error").unwrap(), "invalid_target");
    }

    #[tokio::test]
    async fn a_removed_client_and_a_failed_store_look_different() {
        let running = guard().start();
        let client = running.client(&[LOOPBACK]).await;
        running.store.close().await;
        let answer = running.authorize(&client, &[]).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
    }
}
