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
use crate::pages::{self, Consent, display_name};

use super::answer::Answer;
use super::browser::Browser;
use super::client::Client;
use super::error::{ErrorCode, OAuthError};
use super::problem::Problem;
use super::redirect_uri::{Destination, RedirectUri};
use super::{AuthorizationServer, Settings, scope, target};

/// The longest query, in bytes.
const MAX_QUERY: usize = 8 * 1024;
/// How long a consent page may be answered.
const PAGE_LIFETIME: Duration = Duration::from_secs(600);

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
        let query = request.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Problem::TooLarge);
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
        match covered {
            true => Ok(asked),
            false => Err(Problem::ForeignRedirectUri),
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

    fn seal(&self, pending: &AuthorizationRequest, browser: &Browser) -> String {
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
            sign_in_action: &format!("{prefix}/.auth/password"),
            cancel_action: &format!("{prefix}/.auth/continue"),
            sealed_request: page.sealed,
            name: self.users.asks_for_name().then_some(page.name),
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
