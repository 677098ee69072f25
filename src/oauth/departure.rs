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
                log_failure(kind, &error);
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

pub(super) fn log_failure(kind: ProviderKind, error: &SignInError) {
    tracing::warn!(event = "sign_in_failed", provider = kind.name(), %error,
        "a sign-in at an identity provider came to nothing");
}
