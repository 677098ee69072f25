//! What a person answers to the consent page: Allow with a password, Cancel, or the choice of an
//! identity provider, which leads to [`super::departure`].
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
use crate::identity::{Identity, ProviderKind};
use crate::pages::display_name;

use super::AuthorizationServer;
use super::answer::Answer;
use super::authorize::{AuthorizationRequest, ConsentPage};
use super::browser::Browser;
use super::error::{ErrorCode, OAuthError, retry_after};
use super::figures::SignIn;
use super::problem::Problem;
use super::redirect_uri::RedirectUri;

/// The largest form, in bytes: a sealed request, a name and a password.
const MAX_BODY: usize = 32 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// A form that came back as it should.
pub(super) struct Submission {
    pub(super) request: AuthorizationRequest,
    sealed: String,
    redirect_uri: RedirectUri,
    client_name: Option<String>,
    name: String,
    password: SecretString,
    /// The provider that was chosen, whether there is such a one or not.
    pub(super) provider: Option<String>,
    /// Whether to ask the provider for another account than the last.
    pub(super) other_account: bool,
    allow: bool,
    pub(super) from: IpAddr,
}

impl Submission {
    /// The page that was submitted, to be shown once more: the request lives on.
    pub(super) fn page(&self) -> ConsentPage<'_> {
        ConsentPage::new(
            &self.request,
            &self.sealed,
            &self.redirect_uri,
            self.client_name.as_deref(),
        )
    }
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

    /// `/.auth/continue`: on to an identity provider, or Cancel.
    pub(super) async fn proceed(&self, request: Inbound) -> Reply {
        let outcome = match self.submission(request).await {
            Ok(submission) if submission.allow => self.depart(&submission).await,
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
            provider: field("provider")?.map(str::to_owned),
            other_account: field("account")? == Some("other"),
            request: pending,
            allow,
            from,
        })
    }

    fn cancel(&self, submission: &Submission) -> Reply {
        tracing::info!(event = "authorization_cancelled", client = %submission.request.client.0,
            "an authorization was cancelled");
        let denied = OAuthError::new(ErrorCode::AccessDenied, "the person did not allow it");
        self.answer(submission).error(&denied)
    }

    /// A page sent twice needs the password twice, and then yields two codes.
    async fn approve(&self, submission: &Submission) -> Result<Reply, Problem> {
        if self.identity.local().is_empty() {
            return Err(Problem::Malformed);
        }
        let password = submission.password.clone();
        let signed_in = self
            .identity
            .local()
            .sign_in(&submission.name, password, submission.from);
        let sign_ins = self.figures.sign_ins_at(None);
        match signed_in.await {
            Ok(identity) => {
                sign_ins.count(SignIn::Ok);
                let code = self.issue(&submission.request, identity).await?;
                Ok(self.answer(submission).code(&code))
            }
            Err(refused) => {
                sign_ins.count(SignIn::Refused);
                Ok(self.ask_again(submission, &refused))
            }
        }
    }

    /// The code for what a person approved who has signed in, here or elsewhere.
    pub(super) async fn issue(
        &self,
        request: &AuthorizationRequest,
        identity: Identity,
    ) -> Result<String, Problem> {
        // Before the code: a client that holds one must not expire under it.
        if !self.clients.approve(&request.client).await? {
            return Err(Problem::UnknownClient);
        }
        let provider = identity
            .subject
            .provider()
            .map_or("local", ProviderKind::name);
        tracing::info!(event = "authorization_approved", subject = identity.subject.as_str(),
            provider, client = %request.client.0, redirect_uri = request.redirect_uri.as_str(),
            "an authorization was approved");
        let approval = Approval {
            identity,
            client: request.client.clone(),
            redirect_uri: request.redirect_uri.clone(),
            code_challenge: request.code_challenge.clone(),
            scopes: request.scopes.clone(),
            resource: request.resource.clone(),
        };
        Ok(self.grants.issue_code(approval).await?)
    }

    /// The same page with what went wrong; the password is typed anew.
    fn ask_again(&self, submission: &Submission, refused: &Refused) -> Reply {
        tracing::warn!(event = "sign_in_refused", from = %submission.from,
            name = submission.name.as_str(), "a sign-in was refused");
        let (status, problem, wait) = match refused {
            Refused::WrongCredentials if self.identity.local().asks_for_name() => (
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
                self.figures.braked.count();
                let wait = retry_after(*wait);
                let seconds = wait.to_str().unwrap_or("60");
                let problem = format!("Too many attempts. Wait {seconds} seconds, then try again.");
                (StatusCode::TOO_MANY_REQUESTS, problem, Some(wait))
            }
        };
        let mut page = submission.page();
        page.name = &submission.name;
        page.was_wrong = true;
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

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::super::fixture::{PASSWORD, Page, Running, VERIFIER, form, guard, query};
    use crate::grant::{ClientId, Redemption};

    use super::*;

    const LOOPBACK: &str = "http://localhost/callback";
    const SENT: &str = "http://localhost:3118/callback";

    async fn page(running: &Running) -> (String, Page) {
        let client = running.client(&[LOOPBACK]).await;
        let page = running.authorize(&client, &[]).await.page();
        (client, page)
    }

    /// Whether a code is good.
    async fn redeems(running: &Running, client: &str, code: &str) -> bool {
        let redemption = Redemption {
            code,
            client: &ClientId(client.to_owned()),
            redirect_uri: Some(SENT),
            code_verifier: Some(VERIFIER),
            resource: None,
        };
        running.grants.redeem(redemption).await.is_ok()
    }

    #[tokio::test]
    async fn the_right_password_yields_a_code_that_redeems() {
        let running = guard().start();
        let (client, page) = page(&running).await;
        let answer = page.allow(&running).await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert!(
            answer
                .header("location")
                .starts_with("http://localhost:3118/callback?code=mgc_")
        );
        assert_eq!(answer.sent("state").unwrap(), "a b&c");
        assert_eq!(answer.sent("iss").unwrap(), "https://guard.test");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(redeems(&running, &client, &answer.sent("code").unwrap()).await);
    }

    #[tokio::test]
    async fn a_wrong_password_shows_the_page_again() {
        let mut two = guard();
        two.users = vec!["owner", "ann"];
        let running = two.start();
        let (_, page) = page(&running).await;
        let answer = page.submit(&running, "allow", "wrong", &[]).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("role=\"alert\""));
        assert!(answer.body.contains("value=\"owner\""), "the name is kept");
        assert!(answer.body.contains(&page.sealed), "the request is kept");
        assert!(!answer.body.contains("wrong\""), "the password is not");
        assert_eq!(page.allow(&running).await.status, 303);
    }

    #[tokio::test]
    async fn a032_a036_cancelling_tells_the_client() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        let body = form(&[("request", &page.sealed), ("decision", "cancel")]);
        let headers = [("cookie", page.cookie.as_str())];
        let answer = running
            .send(Endpoint::Continue, "/.auth/continue", &headers, body)
            .await;
        assert_eq!(answer.status, 303);
        assert_eq!(answer.sent("error").unwrap(), "access_denied");
        assert_eq!(answer.sent("iss").unwrap(), "https://guard.test");

        let client = running.client(&["https://a.test/cb"]).await;
        let changes = [("redirect_uri", "https://a.test/cb")];
        let page = running.authorize(&client, &changes).await.page();
        let answer = page.submit(&running, "cancel", "", &[]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.body.contains("Return to a.test"));
        assert!(!answer.headers.contains_key("location"));
    }

    #[tokio::test]
    async fn a033_forms_from_elsewhere_count_for_nothing() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        let other = running
            .authorize(&running.client(&[LOOPBACK]).await, &[])
            .await
            .page();
        for headers in [
            [("origin", "https://evil.test")],
            [("origin", "null")],
            [("origin", "http://guard.test")],
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
            [("sec-fetch-site", "none")],
        ] {
            let answer = page.submit(&running, "allow", PASSWORD, &headers).await;
            assert_eq!(answer.status, 403, "{headers:?}");
            assert!(!answer.headers.contains_key("location"));
        }
        let foreign = Page {
            cookie: other.cookie,
            ..page.clone()
        };
        assert_eq!(foreign.allow(&running).await.status, 403);
        let none = Page {
            cookie: String::new(),
            ..page.clone()
        };
        assert_eq!(none.allow(&running).await.status, 403);
        let altered = Page {
            sealed: page.sealed.replacen('A', "B", 1) + "A",
            ..page.clone()
        };
        assert_eq!(altered.allow(&running).await.status, 403);
        assert_eq!(page.allow(&running).await.status, 303);
    }

    #[tokio::test]
    async fn a043_an_app_is_reached_from_a_page_of_ours() {
        let running = guard().start();
        let uri = "cursor://anysphere.cursor-mcp/oauth/callback";
        let client = running.client(&[uri]).await;
        let page = running
            .authorize(&client, &[("redirect_uri", uri)])
            .await
            .page();
        let answer = page.allow(&running).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("location"));
        assert!(answer.body.contains("http-equiv=\"refresh\""));
        assert!(
            answer
                .body
                .contains("href=\"cursor://anysphere.cursor-mcp/oauth/callback?code=mgc_")
        );
        assert!(answer.body.contains("Return to Some app"));
    }

    #[tokio::test]
    async fn a044_two_tabs_each_get_their_own_code() {
        let running = guard().start();
        let (client, first) = page(&running).await;
        let target = format!("/authorize?{}", query(&client, &[]));
        let headers = [("cookie", first.cookie.as_str())];
        let second = running
            .send(Endpoint::Authorize, &target, &headers, "")
            .await
            .page();
        let second = second.allow(&running).await.sent("code").unwrap();
        let first = first.allow(&running).await.sent("code").unwrap();
        assert_ne!(first, second);
        assert!(redeems(&running, &client, &first).await);
        assert!(redeems(&running, &client, &second).await);
    }

    #[tokio::test]
    async fn a047_a_sign_in_is_not_remembered() {
        let running = guard().start();
        let (client, first) = page(&running).await;
        let answer = first.allow(&running).await;
        assert_eq!(answer.status, 303);
        assert!(!answer.headers.contains_key("set-cookie"));
        let again = running.authorize(&client, &[]).await;
        assert_eq!(again.status, 200);
        assert!(again.body.contains("type=\"password\""));
    }

    #[tokio::test]
    async fn a_page_expires_after_ten_minutes() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        running.clock.advance(Duration::from_secs(599));
        assert_eq!(page.allow(&running).await.status, 303);
        running.clock.advance(Duration::from_secs(2));
        let answer = page.allow(&running).await;
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("expired"));
    }

    #[tokio::test]
    async fn allow_belongs_to_a_way_to_sign_in() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        let body = form(&[("request", &page.sealed), ("decision", "allow")]);
        let headers = [("cookie", page.cookie.as_str())];
        let answer = running
            .send(Endpoint::Continue, "/.auth/continue", &headers, body)
            .await;
        assert_eq!(answer.status, 400);
    }

    #[tokio::test]
    async fn trouble_of_the_store_is_a_page_that_says_so() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        running.store.close().await;
        let answer = page.allow(&running).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
        assert!(answer.header("content-type").starts_with("text/html"));
    }

    #[tokio::test]
    async fn a068_too_many_attempts_are_told_to_wait() {
        let running = guard().start();
        let (_, page) = page(&running).await;
        let mut last = page.submit(&running, "allow", "wrong", &[]).await;
        for _ in 0..50 {
            if last.status == 429 {
                break;
            }
            last = page.submit(&running, "allow", "wrong", &[]).await;
        }
        assert_eq!(last.status, 429);
        assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(last.body.contains("Too many attempts"));
    }
}
