//! GitHub's REST API, as far as a sign-in asks it. What an answer says stays here and in the
//! identity: neither bodies nor anything else that GitHub chose gets into an error.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use super::link;
use crate::http::client::{Allowance, ClientError, HttpClient};
use crate::identity::SignInError;
use crate::identity::code_flow::OUR_NAME;

/// A page of a hundred teams takes some 300 KiB.
const ALLOWANCE: Allowance = Allowance {
    time: Duration::from_secs(10),
    size: 1024 * 1024,
};

/// Of a hundred each; nobody is in more than five thousand teams.
const MAX_PAGES: usize = 50;

const VERSION: HeaderName = HeaderName::from_static("x-github-api-version");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// Asks on behalf of one person.
pub(super) struct Api<'a> {
    http: &'a HttpClient,
    base: &'a Url,
    authorization: HeaderValue,
}

impl<'a> Api<'a> {
    pub(super) fn new(
        http: &'a HttpClient,
        base: &'a Url,
        token: &SecretString,
    ) -> Result<Self, SignInError> {
        let authorization = format!("Bearer {}", token.expose_secret());
        let mut authorization = HeaderValue::try_from(authorization)
            .map_err(|_| broken("token endpoint", "an access token that fits no header"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            http,
            base,
            authorization,
        })
    }

    /// What is at `path`, segment by segment; `None` if GitHub says that it is not there, or not for
    /// this person.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Option<T>, SignInError> {
        let what = path.join("/");
        let answer = self.ask(&what, &self.url(path)).await?;
        answer.map(|answer| read(&what, &answer)).transpose()
    }

    /// All pages of the list at `path`; `None` as in [`Self::get`].
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Option<Vec<T>>, SignInError> {
        let what = path.join("/");
        let mut url = self.url(path);
        url.set_query(Some("per_page=100"));
        let mut list = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some(answer) = self.ask(&what, &url).await? else {
                return Ok(None);
            };
            list.append(&mut read::<Vec<T>>(&what, &answer)?);
            match link::next(answer.headers()) {
                Some(next) => url = self.own(&what, next)?,
                None => return Ok(Some(list)),
            }
        }
        Err(broken(&what, "a list without end"))
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// The person's token goes nowhere else, whatever an answer says.
    fn own(&self, what: &str, link: &str) -> Result<Url, SignInError> {
        let url = self.base.join(link).ok();
        url.filter(|url| url.origin() == self.base.origin())
            .ok_or_else(|| broken(what, "the next page is on another server"))
    }

    async fn ask(&self, what: &str, url: &Url) -> Result<Option<Response<Bytes>>, SignInError> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/vnd.github+json")
            .header(VERSION, "2022-11-28")
            .header(USER_AGENT, OUR_NAME)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Bytes::new())
            .map_err(|_| broken(what, "an address that cannot be asked"))?;
        let answer = self.http.send(request, ALLOWANCE).await;
        judge(what, answer.map_err(|error| client_error(what, &error))?)
    }
}

/// Only what GitHub says for certain counts as "not there": where it is out of order or out of
/// patience, nobody is told that they are not allowed.
fn judge(what: &str, answer: Response<Bytes>) -> Result<Option<Response<Bytes>>, SignInError> {
    let status = answer.status();
    if status.is_server_error() || is_out_of_patience(&answer) {
        return Err(SignInError::Unavailable(format!("{what}: status {status}")));
    }
    match status {
        StatusCode::OK => Ok(Some(answer)),
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
        _ => Err(broken(what, &format!("status {status}"))),
    }
}

/// The rate limits of GitHub come as 429 or 403; the secondary ones say when to come back.
fn is_out_of_patience(answer: &Response<Bytes>) -> bool {
    let headers = answer.headers();
    let none_remain = headers.get(REMAINING).is_some_and(|left| left == "0");
    let limited = none_remain || headers.contains_key(RETRY_AFTER);
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::FORBIDDEN => limited,
        _ => false,
    }
}

fn read<T: DeserializeOwned>(what: &str, answer: &Response<Bytes>) -> Result<T, SignInError> {
    // The parser's own words may quote the answer.
    serde_json::from_slice(answer.body()).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        broken(what, &format!("not the JSON that is documented ({place})"))
    })
}

fn client_error(what: &str, error: &ClientError) -> SignInError {
    match error {
        ClientError::TooLarge(_) => broken(what, &error.to_string()),
        ClientError::TimedOut(_) | ClientError::Connection(_) => {
            SignInError::Unavailable(format!("{what}: {error}"))
        }
    }
}

pub(super) fn broken(what: &str, trouble: &str) -> SignInError {
    SignInError::Broken(format!("{what}: {trouble}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::fake::{Answer, FakeGitHub};
    use super::*;

    /// What the first page of the list of teams does to the whole of it.
    async fn teams(fake: &FakeGitHub) -> Result<Option<Vec<Value>>, SignInError> {
        let (http, base) = (HttpClient::default(), fake.api_url());
        let api = Api::new(&http, &base, &"gho_token".into()).unwrap();
        api.list(&["user", "teams"]).await
    }

    async fn first(answer: Answer) -> Result<Option<Vec<Value>>, SignInError> {
        let fake = FakeGitHub::start().await;
        fake.on("/api/v3/user/teams?per_page=100", answer);
        teams(&fake).await
    }

    #[tokio::test]
    async fn a061_all_pages_are_read_with_the_headers_that_github_asks_for() {
        let fake = FakeGitHub::start().await;
        for page in 1..=4 {
            let here = match page {
                1 => "/api/v3/user/teams?per_page=100".to_owned(),
                _ => format!("/api/v3/user/7/teams?page={page}"),
            };
            let next = format!("{}api/v3/user/7/teams?page={}", fake.url(), page + 1);
            let answer = Answer::json(&serde_json::json!([page]));
            let answer = match page {
                4 => answer.header("link", "</x>; rel=\"first\""),
                _ => answer.header("link", &format!("<{next}>; rel=\"next\"")),
            };
            fake.on(&here, answer);
        }
        let list = teams(&fake).await.unwrap().unwrap();
        assert_eq!(list, [1, 2, 3, 4]);
        for asked in fake.asked() {
            assert_eq!(asked.header("accept"), "application/vnd.github+json");
            assert_eq!(asked.header("x-github-api-version"), "2022-11-28");
            assert_eq!(asked.header("user-agent"), "mcp-guard");
            assert_eq!(asked.header("authorization"), "Bearer gho_token");
        }
    }

    #[tokio::test]
    async fn the_token_is_not_taken_to_another_server_by_a_next_link() {
        let other = FakeGitHub::start().await;
        for next in [
            other.url().as_str(),
            "https://github.test/",
            "//x.test/",
            "mailto:x",
        ] {
            let link = format!("<{next}>; rel=\"next\"");
            let answer = Answer::json(&serde_json::json!([])).header("link", &link);
            let error = first(answer).await.unwrap_err();
            assert!(matches!(&error, SignInError::Broken(_)), "{next}: {error}");
        }
        assert!(other.asked().is_empty());
    }

    #[tokio::test]
    async fn a_list_that_leads_back_to_itself_ends() {
        let fake = FakeGitHub::start().await;
        let again = "</api/v3/user/teams?per_page=100>; rel=\"next\"";
        let answer = Answer::json(&serde_json::json!([1])).header("link", again);
        fake.on("/api/v3/user/teams?per_page=100", answer);
        let error = teams(&fake).await.unwrap_err();
        assert!(matches!(error, SignInError::Broken(_)), "{error}");
        assert_eq!(fake.asked().len(), MAX_PAGES);
    }

    #[tokio::test]
    async fn a061_what_is_not_there_is_told_from_trouble_of_github_s() {
        for (answer, absent) in [
            (Answer::status(404), true),
            (Answer::status(403), true),
            (
                Answer::status(403).header("x-github-sso", "required; url=https://x.test"),
                true,
            ),
            (
                Answer::status(403).header("x-ratelimit-remaining", "4999"),
                true,
            ),
            (
                Answer::status(403).header("x-ratelimit-remaining", "0"),
                false,
            ),
            (Answer::status(403).header("retry-after", "60"), false),
            (Answer::status(429), false),
            (Answer::status(500), false),
            (Answer::status(503), false),
            (Answer::hang_up(), false),
        ] {
            let shown = format!("{answer:?}");
            match first(answer).await {
                Ok(found) => assert!(absent && found.is_none(), "{shown}"),
                Err(error) => {
                    let unavailable = matches!(error, SignInError::Unavailable(_));
                    assert!(!absent && unavailable, "{shown}: {error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a066_answers_that_make_no_sense_are_broken_and_not_quoted() {
        for answer in [
            Answer::text("text/html", "<html>sesame</html>"),
            Answer::text("application/json", "{\"message\":\"sesame\"}"),
            Answer::text("application/json", "\"sesame\""),
            Answer::text("application/json", "[1"),
            Answer::text("application/json", ""),
            Answer::text("application/json", &" ".repeat(ALLOWANCE.size + 1)),
            Answer::status(401),
            Answer::status(204),
            Answer::status(301).header("location", "https://sesame.test/"),
        ] {
            let error = first(answer).await.unwrap_err();
            assert!(matches!(error, SignInError::Broken(_)), "{error}");
            assert!(!error.to_string().contains("sesame"), "{error}");
        }
    }
}
