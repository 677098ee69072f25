//! Back from an identity provider: `/.auth/<provider>/callback` (RFC 6749 §4.1.2).
//!
//! A stranger can make a browser come here with any query. So nothing is consumed until `state` is
//! known, was sent to this very provider, and the browser shows the cookie of the one
//! that approved. Then the transaction is taken, by one request only. Nothing that
//! the provider sent is repeated on a page or to the client.

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER, SET_COOKIE};

use crate::http::form::Form;
use crate::http::{Inbound, Reply};
use crate::identity::{Callback, ProviderKind, Refusal, SignInError};
use crate::pages::display_name;

use super::AuthorizationServer;
use super::answer::Answer;
use super::authorize::{AuthorizationRequest, ConsentPage, MAX_QUERY, PAGE_LIFETIME};
use super::browser::Browser;
use super::departure::unreachable;
use super::error::{ErrorCode, OAuthError, RETRY, clean, retry_after};
use super::figures::SignIn;
use super::problem::Problem;
use super::redirect_uri::RedirectUri;
use super::sign_in_problem::SignInProblem;
use super::transaction::Transaction;

/// How much of a provider's error code gets into the log.
const LOGGED: usize = 64;

/// What the provider says, by way of the browser.
enum Said<'a> {
    Code(Callback<'a>),
    Error(&'a str),
}

impl<'a> Said<'a> {
    fn of(form: &'a Form) -> Result<Self, Problem> {
        let field = |name| form.get(name).map_err(|_| Problem::Malformed);
        let (code, error, iss) = (field("code")?, field("error")?, field("iss")?);
        match (code, error) {
            (Some(code), None) => Ok(Self::Code(Callback { code, iss })),
            (None, Some(error)) => Ok(Self::Error(error)),
            _ => Err(Problem::Malformed),
        }
    }
}

/// A person who is back, in the browser that approved.
struct Return<'a> {
    provider: ProviderKind,
    provider_name: String,
    state: &'a str,
    headers: &'a HeaderMap,
    request: AuthorizationRequest,
    redirect_uri: RedirectUri,
    client_name: Option<String>,
}

impl AuthorizationServer {
    pub(super) async fn callback(&self, provider: ProviderKind, request: Inbound) -> Reply {
        match self.try_callback(provider, &request).await {
            Ok(reply) => reply,
            Err(problem) => problem.page(&self.settings.server_name),
        }
    }

    async fn try_callback(
        &self,
        provider: ProviderKind,
        request: &Inbound,
    ) -> Result<Reply, Problem> {
        let name = self.provider_name(provider);
        let name = name.ok_or(SignInProblem::NoSuchProvider)?;
        let query = request.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(Problem::QueryTooLong);
        }
        let form = Form::parse(query.as_bytes()).map_err(|_| Problem::Malformed)?;
        let state = form.get("state").map_err(|_| Problem::Malformed)?;
        let state = state.ok_or(Problem::Malformed)?;
        let said = Said::of(&form)?;
        let back = self.recognise(provider, name, state, &request.headers);
        let back = back.await?;
        match said {
            Said::Code(callback) => self.complete(&back, callback).await,
            Said::Error("temporarily_unavailable" | "server_error") => Ok(self.out_of_order(&back)),
            Said::Error(code) => self.turned_away(&back, code).await,
        }
    }

    /// Whose return this is. Changes nothing.
    async fn recognise<'a>(
        &self,
        provider: ProviderKind,
        provider_name: String,
        state: &'a str,
        headers: &'a HeaderMap,
    ) -> Result<Return<'a>, Problem> {
        let found = self.transactions.find(state).await?;
        let transaction = found
            .filter(|found| found.provider == provider)
            .ok_or(SignInProblem::Stale)?;
        if !self
            .transactions
            .is_browser_of(headers, state, &transaction)
        {
            tracing::warn!(event = "sign_in_foreign", provider = provider.name(),
                client = %transaction.request.client.0,
                "a sign-in came back in another browser than it began in");
            return Err(SignInProblem::Foreign.into());
        }
        let request = transaction.request;
        let redirect_uri =
            RedirectUri::parse(&request.redirect_uri).map_err(|_| SignInProblem::Stale)?;
        let client = self.clients.find(&request.client.0).await?;
        let client = client.ok_or(Problem::UnknownClient)?;
        Ok(Return {
            provider,
            provider_name,
            state,
            headers,
            redirect_uri,
            client_name: client.name.as_deref().and_then(display_name),
            request,
        })
    }

    /// From here on nobody else can end this sign-in.
    async fn take(&self, back: &Return<'_>) -> Result<Transaction, Problem> {
        let taken = self.transactions.take(back.state).await?;
        Ok(taken.ok_or(SignInProblem::Stale)?)
    }

    async fn complete(&self, back: &Return<'_>, callback: Callback<'_>) -> Result<Reply, Problem> {
        let transaction = self.take(back).await?;
        let signed_in = self
            .identity
            .complete(back.provider, &transaction.handshake, callback);
        let error = match signed_in.await {
            Ok(identity) => {
                self.count(back, SignIn::Ok);
                let code = self.issue(&transaction.request, identity).await?;
                return Ok(self.over(back, self.answer_to(back).code(&code)));
            }
            Err(SignInError::Refused(refusal)) => return Ok(self.refuse(back, &refusal)),
            Err(error) => error,
        };
        self.failed(back.provider, &error);
        let problem = SignInProblem::from(&error);
        if problem == SignInProblem::Unavailable {
            // Its code may well be good still: the same address can be asked for once more.
            self.transactions.put_back(back.state, &transaction).await?;
            return Err(problem.into());
        }
        let page = Problem::from(problem).page(&self.settings.server_name);
        Ok(self.over(back, page))
    }

    /// The provider sent the person back without a code.
    async fn turned_away(&self, back: &Return<'_>, code: &str) -> Result<Reply, Problem> {
        self.take(back).await?;
        let logged: String = clean(code).chars().take(LOGGED).collect();
        tracing::info!(event = "sign_in_turned_away", provider = back.provider.name(),
            error = logged, client = %back.request.client.0,
            "an identity provider answered with an error");
        let reply = if code == ErrorCode::AccessDenied.as_str() {
            let what = "the person did not sign in";
            self.answer_to(back)
                .error(&OAuthError::new(ErrorCode::AccessDenied, what))
        } else {
            self.count(back, SignIn::Failed);
            Problem::from(SignInProblem::Broken).page(&self.settings.server_name)
        };
        Ok(self.over(back, reply))
    }

    fn count(&self, back: &Return<'_>, outcome: SignIn) {
        let sign_ins = self.figures.sign_ins_at(Some(back.provider));
        sign_ins.count(outcome);
    }

    /// Who signed in but is not let in sees as whom, what is missing, and can try another account.
    fn refuse(&self, back: &Return<'_>, refusal: &Refusal) -> Reply {
        self.count(back, SignIn::Refused);
        let provider = back.provider.name();
        tracing::warn!(
            event = "sign_in_refused",
            provider,
            who = refusal.who.as_str(),
            missing = refusal.missing.as_str(),
            "a sign-in was refused"
        );
        let who = display_name(&refusal.who);
        let problem = format!(
            // The account's name stands by itself, whatever direction it is written in.
            "You are signed in to {} as \u{2068}{}\u{2069}, but that does not let you in here: {}.",
            back.provider_name,
            who.as_deref().unwrap_or("somebody without a name"),
            refusal.missing,
        );
        let refused = Some(back.provider);
        let reply = self.ask_anew(back, StatusCode::FORBIDDEN, &problem, refused);
        self.over(back, reply)
    }

    /// The provider says that it cannot sign anybody in now. The code's way is closed, so a person
    /// starts from the consent page, whenever they like; this sign-in stays as it is.
    fn out_of_order(&self, back: &Return<'_>) -> Reply {
        self.count(back, SignIn::Failed);
        let problem = unreachable(&back.provider_name);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut reply = self.ask_anew(back, status, &problem, None);
        reply.headers_mut().insert(RETRY_AFTER, retry_after(RETRY));
        reply
    }

    /// The consent page once more, sealed for another ten minutes.
    fn ask_anew(
        &self,
        back: &Return<'_>,
        status: StatusCode,
        problem: &str,
        refused: Option<ProviderKind>,
    ) -> Reply {
        let external = &self.settings.external_url;
        let browser =
            Browser::recognise(back.headers, external).unwrap_or_else(|| Browser::new(external));
        let mut request = back.request.clone();
        request.expires_at = self.clock.now().after(PAGE_LIFETIME);
        let sealed = self.seal(&request, &browser);
        let client_name = back.client_name.as_deref();
        let mut page = ConsentPage::new(&request, &sealed, &back.redirect_uri, client_name);
        page.problem = Some(problem);
        page.refused = refused;
        let mut reply = self.show(status, &page);
        if let Some(cookie) = browser.set_cookie() {
            reply.headers_mut().append(SET_COOKIE, cookie);
        }
        reply
    }

    /// The browser forgets a sign-in that is over.
    fn over(&self, back: &Return<'_>, mut reply: Reply) -> Reply {
        if let Some(cookie) = self.transactions.clear_cookie(back.state) {
            reply.headers_mut().append(SET_COOKIE, cookie);
        }
        reply
    }

    fn answer_to<'a>(&'a self, back: &'a Return<'_>) -> Answer<'a> {
        Answer {
            server: self,
            redirect_uri: &back.redirect_uri,
            state: back.request.state.as_deref(),
            client_name: back.client_name.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests;
