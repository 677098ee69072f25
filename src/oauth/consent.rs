//! What a person answers to the consent page: Allow with a password, or Cancel.
//!
//! The form counts only if it comes from a page of ours (`Origin`, `Sec-Fetch-Site`), in the browser
//! that the page was made for (cookie), with the request that was shown (seal): threat cases A-033,
//! design rule D-13. There is no session: the next authorization asks again.

use std::net::IpAddr;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use secrecy::SecretString;

use crate::grant::Approval;
use crate::http::form::Form;
use crate::http::{Inbound, Origins, Reply};
use crate::identity::local::Refused;
use crate::pages::display_name;

use super::AuthorizationServer;
use super::answer::Answer;
use super::authorize::{AuthorizationRequest, ConsentPage};
use super::browser::Browser;
use super::error::{ErrorCode, OAuthError, retry_after};
use super::problem::Problem;
use super::redirect_uri::RedirectUri;

/// The largest form, in bytes: a sealed request, a name and a password.
const MAX_BODY: usize = 32 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// A form that came back as it should.
struct Submission {
    request: AuthorizationRequest,
    sealed: String,
    redirect_uri: RedirectUri,
    client_name: Option<String>,
    name: String,
    password: SecretString,
    allow: bool,
    from: IpAddr,
}

impl AuthorizationServer {
    /// `/.auth/password`: Allow, and the sign-in that goes with it.
    pub(super) async fn password(&self, request: Inbound) -> Reply {
        let outcome = match self.submission(request).await {
            Ok(submission) if submission.allow => self.approve(&submission).await,
            Ok(submission) => Ok(self.cancel(&submission)),
            Err(problem) => Err(problem),
        };
        outcome.unwrap_or_else(|problem| problem.page(&self.settings.server_name))
    }

    /// `/.auth/continue`: Cancel. (Allow belongs to a way to sign in.)
    pub(super) async fn proceed(&self, request: Inbound) -> Reply {
        let outcome = match self.submission(request).await {
            Ok(submission) if submission.allow => Err(Problem::Malformed),
            Ok(submission) => Ok(self.cancel(&submission)),
            Err(problem) => Err(problem),
        };
        outcome.unwrap_or_else(|problem| problem.page(&self.settings.server_name))
    }

    async fn submission(&self, request: Inbound) -> Result<Submission, Problem> {
        if !is_same_origin(&request.headers, &self.origins) {
            return Err(Problem::CrossSite);
        }
        let browser = Browser::recognise(&request.headers, &self.settings.external_url)
            .ok_or(Problem::NoCookie)?;
        let from = request.client;
        let body = request.body.read(MAX_BODY, PATIENCE).await?;
        let form = Form::parse(&body).map_err(|_| Problem::Malformed)?;
        let field = |name| form.get(name).map_err(|_| Problem::Malformed);

        let sealed = field("request")?.ok_or(Problem::Malformed)?;
        let pending = self.unseal(sealed, &browser).ok_or(Problem::StalePage)?;
        let redirect_uri =
            RedirectUri::parse(&pending.redirect_uri).map_err(|_| Problem::StalePage)?;
        let allow = match field("decision")? {
            // Some password managers submit forms without pressing a button.
            Some("allow") | None => true,
            Some("cancel") => false,
            Some(_) => return Err(Problem::Malformed),
        };
        let client = self.clients.find(&pending.client.0).await?;
        let client = client.ok_or(Problem::UnknownClient)?;
        Ok(Submission {
            sealed: sealed.to_owned(),
            redirect_uri,
            client_name: client.name.as_deref().and_then(display_name),
            name: field("name")?.unwrap_or_default().to_owned(),
            password: field("password")?.unwrap_or_default().into(),
            request: pending,
            allow,
            from,
        })
    }

    fn cancel(&self, submission: &Submission) -> Reply {
        tracing::info!(client = %submission.request.client.0, "an authorization was cancelled");
        let denied = OAuthError::new(ErrorCode::AccessDenied, "the person did not allow it");
        self.answer(submission).error(&denied)
    }

    /// A page sent twice needs the password twice, and then yields two codes.
    async fn approve(&self, submission: &Submission) -> Result<Reply, Problem> {
        let request = &submission.request;
        let password = submission.password.clone();
        let signed_in = self
            .users
            .sign_in(&submission.name, password, submission.from);
        let identity = match signed_in.await {
            Ok(identity) => identity,
            Err(refused) => return Ok(self.ask_again(submission, &refused)),
        };
        // Before the code: a client that holds one must not expire under it.
        if !self.clients.approve(&request.client).await? {
            return Err(Problem::UnknownClient);
        }
        tracing::info!(
            subject = ?identity.subject.as_str(),
            client = %request.client.0,
            redirect_uri = ?request.redirect_uri,
            "an authorization was approved"
        );
        let approval = Approval {
            identity,
            client: request.client.clone(),
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.code_challenge.clone(),
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
        };
        let code = self.grants.issue_code(approval).await?;
        Ok(self.answer(submission).code(&code))
    }

    /// The same page with what went wrong; the request lives on, the password is typed anew.
    fn ask_again(&self, submission: &Submission, refused: &Refused) -> Reply {
        tracing::warn!(from = %submission.from, name = ?submission.name, "a sign-in was refused");
        let (status, problem, wait) = match refused {
            Refused::WrongCredentials if self.users.asks_for_name() => (
                StatusCode::FORBIDDEN,
                "The user name or the password is wrong.".to_owned(),
                None,
            ),
            Refused::WrongCredentials => (
                StatusCode::FORBIDDEN,
                "The password is wrong.".to_owned(),
                None,
            ),
            Refused::Later(wait) => {
                let wait = retry_after(*wait);
                let seconds = wait.to_str().unwrap_or("60");
                let problem = format!("Too many attempts. Wait {seconds} seconds, then try again.");
                (StatusCode::TOO_MANY_REQUESTS, problem, Some(wait))
            }
        };
        let mut page = ConsentPage::new(
            &submission.request,
            &submission.sealed,
            &submission.redirect_uri,
            submission.client_name.as_deref(),
        );
        page.name = &submission.name;
        page.problem = Some(&problem);
        let mut reply = self.show(status, &page);
        if let Some(wait) = wait {
            reply.headers_mut().insert(RETRY_AFTER, wait);
        }
        reply
    }

    fn answer<'a>(&'a self, submission: &'a Submission) -> Answer<'a> {
        Answer {
            server: self,
            redirect_uri: &submission.redirect_uri,
            state: submission.request.state.as_deref(),
            client_name: submission.client_name.as_deref(),
        }
    }
}

/// Browsers say where a form comes from; if they do, it must be here. Old ones say nothing, and for
/// them there are the cookie and the seal.
fn is_same_origin(headers: &HeaderMap, origins: &Origins) -> bool {
    let all = |name: &str, good: &dyn Fn(&str) -> bool| {
        let mut values = headers.get_all(name).iter();
        values.all(|value| value.to_str().is_ok_and(good))
    };
    all("origin", &|origin| origins.is_own(origin))
        && all("sec-fetch-site", &|site| site == "same-origin")
}
