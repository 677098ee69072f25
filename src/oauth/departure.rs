//! On to an identity provider. Choosing one on the consent page is the approval, so nothing reaches
//! a provider before a person has seen who asks for what. The provider hears of our own
//! `state` and nothing of the client's request; what was approved waits in a transaction.

use hyper::StatusCode;
use hyper::header::{RETRY_AFTER, SET_COOKIE};

use crate::crypto::random;
use crate::http::Reply;
use crate::identity::{ProviderKind, SignInError};
use crate::policy::rate_limit::RateLimit;

use super::AuthorizationServer;
use super::answer::see_other;
use super::consent::Submission;
use super::error::{RETRY, retry_after};
use super::figures::SignIn;
use super::problem::Problem;
use super::sign_in_problem::SignInProblem;

/// Sign-ins from one network, each a record for ten minutes. A whole office may share an address.
const BURST: u32 = 120;
const PER_SECOND: f64 = 2.0;
const MAX_NETWORKS: usize = 10_000;

/// The limit on sign-ins for one network.
pub(super) fn rate_limit() -> RateLimit {
    RateLimit::new(BURST, PER_SECOND, MAX_NETWORKS)
}

impl AuthorizationServer {
    /// Sends the browser to the provider that was chosen.
    pub(super) async fn depart(&self, submission: &Submission) -> Result<Reply, Problem> {
        let chosen = submission.provider.as_deref().and_then(ProviderKind::parse);
        let kind = chosen.ok_or(Problem::Malformed)?;
        let name = self.provider_name(kind).ok_or(Problem::Malformed)?;
        let in_time = self.departures.check(submission.from);
        in_time.map_err(SignInProblem::TooMany)?;
        let state = random::secret();
        let begun = self.identity.begin(kind, &state, submission.other_account);
        let departure = match begun.await {
            Ok(departure) => departure,
            Err(error) => {
                self.failed(kind, &error);
                return match error {
                    SignInError::Unavailable(_) => Ok(self.out_of_reach(submission, &name)),
                    _ => Err(SignInProblem::from(&error).into()),
                };
            }
        };
        let request = submission.request.clone();
        let opened = self
            .transactions
            .open(&state, kind, departure.handshake, request);
        let cookie = opened.await?;
        let mut reply = see_other(&departure.url);
        if let Some(cookie) = cookie {
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        Ok(reply)
    }

    pub(super) fn failed(&self, kind: ProviderKind, error: &SignInError) {
        self.figures.sign_ins_at(Some(kind)).count(SignIn::Failed);
        tracing::warn!(event = "sign_in_failed", provider = kind.name(), %error,
            "a sign-in at an identity provider came to nothing");
    }

    /// What people call a provider; `None`: it is not configured.
    pub(super) fn provider_name(&self, kind: ProviderKind) -> Option<String> {
        let mut choices = self.identity.choices().into_iter();
        choices
            .find(|(known, _)| *known == kind)
            .map(|(_, name)| name)
    }

    /// The page once more: nothing is lost, and there may be another way to sign in.
    fn out_of_reach(&self, submission: &Submission, name: &str) -> Reply {
        let problem = unreachable(name);
        let mut page = submission.page();
        page.problem = Some(&problem);
        let mut reply = self.show(StatusCode::SERVICE_UNAVAILABLE, &page);
        reply.headers_mut().insert(RETRY_AFTER, retry_after(RETRY));
        reply
    }
}

/// For the alert on the consent page.
pub(super) fn unreachable(name: &str) -> String {
    format!("{name} cannot be reached now. Wait a moment, then try again.")
}

#[cfg(test)]
mod tests {
    use super::super::Endpoint;
    use super::super::federated::{Answer, FakeGitHub, github, issuer};
    use super::super::fixture::{Page, Running, form, guard, query};

    const LOOPBACK: &str = "http://localhost/callback";

    async fn page(running: &Running) -> Page {
        let client = running.client(&[LOOPBACK]).await;
        running.authorize(&client, &[]).await.page()
    }

    async fn records(running: &Running) -> usize {
        let under_way = running.store.scan("transaction/", None, 1000).await;
        under_way.unwrap().len()
    }

    #[tokio::test]
    async fn a031_no_provider_hears_of_a_request_before_a_person_chose_it() {
        let (fake, other) = (FakeGitHub::start().await, FakeGitHub::start().await);
        let mut guard = guard();
        guard.github = Some(github(&fake));
        guard.oidc = Some(issuer(&other));
        let running = guard.start();
        let client = running.client(&["https://a.test/cb"]).await;
        let changes = [("redirect_uri", "https://a.test/cb")];
        let answer = running.authorize(&client, &changes).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("location"));
        for text in ["Some app", "a.test", "https://guard.test/mcp"] {
            assert!(answer.body.contains(text), "{text}");
        }
        assert!(fake.asked().is_empty() && other.asked().is_empty());

        let page = answer.page();
        let answer = page.choose(&running, &[("provider", "github")], &[]).await;
        assert_eq!(answer.status, 303);
        assert!(answer.header("location").starts_with(fake.url().as_str()));
        page.choose(&running, &[("provider", "oidc")], &[]).await;
        assert!(!other.asked().is_empty(), "what was chosen is asked");
    }

    #[tokio::test]
    async fn a033_a_choice_from_elsewhere_sends_nobody_anywhere() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let running = guard.start();
        let (page, other) = (page(&running).await, page(&running).await);
        let chosen = [("provider", "github")];
        for headers in [
            [("origin", "https://evil.test")],
            [("origin", "null")],
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
        ] {
            let answer = page.choose(&running, &chosen, &headers).await;
            assert_eq!(answer.status, 403, "{headers:?}");
            assert!(!answer.headers.contains_key("location"));
        }
        for cookie in [other.cookie, String::new()] {
            let foreign = Page {
                cookie,
                ..page.clone()
            };
            let answer = foreign.choose(&running, &chosen, &[]).await;
            assert_eq!(answer.status, 403);
        }
        assert_eq!(records(&running).await, 0);
        assert_eq!(page.choose(&running, &chosen, &[]).await.status, 303);
    }

    #[tokio::test]
    async fn a048_the_cookie_of_a_sign_in_is_made_after_the_approval() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let running = guard.start();
        let page = page(&running).await;
        assert!(page.cookie.starts_with("__Host-mg-b="));
        let first = page.away(&running).await;
        let second = page.away(&running).await;
        assert!(first.cookie.starts_with("__Host-mg-txn-"));
        let value = |cookie: &str| cookie.split_once('=').unwrap().1.to_owned();
        assert_eq!(value(&first.cookie).len(), 43);
        assert_ne!(value(&first.cookie), value(&page.cookie));
        assert_ne!(value(&first.cookie), value(&second.cookie));
        assert_ne!(first.state(), second.state());
    }

    #[tokio::test]
    async fn a050_the_provider_hears_of_nothing_that_the_client_sent() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let running = guard.start();
        let client = running.client(&[LOOPBACK]).await;
        let smuggled = [
            ("login_hint", "smuggled"),
            ("prompt", "smuggled"),
            ("hd", "smuggled"),
            ("nonce", "smuggled"),
            ("scope", "mcp smuggled"),
            ("state", "smuggled"),
        ];
        let page = running.authorize(&client, &smuggled).await.page();
        let fields = [
            ("provider", "github"),
            ("login_hint", "smuggled"),
            ("redirect_uri", "smuggled"),
            ("account", "smuggled"),
        ];
        let answer = page.choose(&running, &fields, &[]).await;
        assert_eq!(answer.status, 303);
        let sent = url::Url::parse(answer.header("location")).unwrap();
        for (name, value) in sent.query_pairs() {
            let expected = [
                "client_id",
                "code_challenge",
                "code_challenge_method",
                "redirect_uri",
                "response_type",
                "state",
            ];
            assert!(expected.contains(&&*name), "{name}");
            assert!(
                !value.contains("smuggled") && !value.contains(&client),
                "{name}"
            );
        }
        assert_eq!(answer.sent("state").unwrap().len(), 43);
        assert_eq!(answer.header("referrer-policy"), "same-origin");
    }

    #[tokio::test]
    async fn a_provider_that_is_not_there_cannot_be_chosen() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let running = guard.start();
        let page = page(&running).await;
        for fields in [
            &[][..],
            &[("provider", "google")],
            &[("provider", "local")],
            &[("provider", "GitHub")],
            &[("provider", "github"), ("provider", "github")],
        ] {
            let answer = page.choose(&running, fields, &[]).await;
            assert_eq!(answer.status, 400, "{fields:?}");
        }
        assert_eq!(records(&running).await, 0);
    }

    #[tokio::test]
    async fn a066_a_provider_that_is_down_leaves_the_page_and_the_other_ways() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let down = FakeGitHub::start().await;
        down.on("/.well-known/openid-configuration", Answer::hang_up());
        guard.oidc = Some(issuer(&down));
        let running = guard.start();
        let page = page(&running).await;
        let answer = page.choose(&running, &[("provider", "oidc")], &[]).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
        assert!(answer.body.contains("Acme cannot be reached now"));
        assert!(answer.body.contains(&page.sealed), "the request lives on");
        assert_eq!(records(&running).await, 0);
        page.away(&running).await;
        assert_eq!(page.allow(&running).await.status, 303);
    }

    #[tokio::test]
    async fn a_network_that_begins_too_many_sign_ins_is_told_to_wait() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        let running = guard.start();
        let page = page(&running).await;
        let chosen = [("provider", "github")];
        let mut last = page.choose(&running, &chosen, &[]).await;
        for _ in 0..1000 {
            if last.status == 429 {
                break;
            }
            last = page.choose(&running, &chosen, &[]).await;
        }
        assert_eq!(last.status, 429);
        assert!(last.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert!(last.header("content-type").starts_with("text/html"));
        let body = form(&[("request", &page.sealed), ("provider", "github")]);
        let headers = [("cookie", page.cookie.as_str())];
        let elsewhere = "198.51.100.7".parse().unwrap();
        let answer = running
            .send_from(
                elsewhere,
                Endpoint::Continue,
                "/.auth/continue",
                &headers,
                body,
            )
            .await;
        assert_eq!(answer.status, 303);
    }

    #[tokio::test]
    async fn without_local_users_there_is_no_password_to_ask_for() {
        let fake = FakeGitHub::start().await;
        let mut guard = guard();
        guard.github = Some(github(&fake));
        guard.users = Vec::new();
        let running = guard.start();
        let client = running.client(&[LOOPBACK]).await;
        let target = format!("/authorize?{}", query(&client, &[]));
        let shown = running.send(Endpoint::Authorize, &target, &[], "").await;
        assert!(!shown.body.contains("type=\"password\""));
        let page = shown.page();
        assert_eq!(page.allow(&running).await.status, 400);
        let answer = page.choose(&running, &[("decision", "cancel")], &[]).await;
        assert_eq!(answer.sent("error").unwrap(), "access_denied");
    }
}
