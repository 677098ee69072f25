//! A GitHub for tests: on loopback, with the answers that a test gives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use url::Url;

pub(in crate::identity) const TOKEN_ENDPOINT: &str = "/login/oauth/access_token";

/// Answers 404 to what nobody told it about.
pub(in crate::identity) struct FakeGitHub {
    url: Url,
    script: Arc<Mutex<Script>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Script {
    answers: HashMap<String, Answer>,
    asked: Vec<Asked>,
    held: Option<Held>,
}

/// The next request waits for the test.
#[derive(Clone, Default)]
pub(in crate::identity) struct Held(Arc<(Notify, Notify)>);

impl Held {
    /// Returns when the request is there.
    pub(in crate::identity) async fn arrived(&self) {
        self.0.0.notified().await;
    }

    pub(in crate::identity) fn let_go(&self) {
        self.0.1.notify_one();
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(in crate::identity) struct Answer {
    /// `None`: the connection ends without one.
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: String,
}

/// What it was asked.
#[derive(Clone)]
pub(in crate::identity) struct Asked {
    pub(in crate::identity) target: String,
    headers: HeaderMap,
    pub(in crate::identity) body: String,
}

impl Answer {
    pub(in crate::identity) fn text(content_type: &str, body: &str) -> Self {
        let answer = Self {
            status: Some(200),
            headers: Vec::new(),
            body: body.to_owned(),
        };
        answer.header("content-type", content_type)
    }

    pub(in crate::identity) fn json(body: &Value) -> Self {
        Self::text("application/json; charset=utf-8", &body.to_string())
    }

    pub(in crate::identity) fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            ..Self::json(&json!({"message": "sesame"}))
        }
    }

    pub(in crate::identity) fn hang_up() -> Self {
        Self {
            status: None,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(in crate::identity) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn response(self) -> Result<Response<Full<Bytes>>, HangUp> {
        let mut response = Response::builder().status(self.status.ok_or(HangUp)?);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::from(self.body)).unwrap())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the script says so")]
struct HangUp;

impl Asked {
    pub(in crate::identity) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl FakeGitHub {
    /// Gives a token for any code, and knows nobody yet.
    pub(in crate::identity) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&script)));
        let fake = Self {
            url: Url::parse(&url).unwrap(),
            script,
            server,
        };
        let token = json!({"access_token": "gho_token", "token_type": "bearer", "scope": ""});
        fake.on(TOKEN_ENDPOINT, Answer::json(&token));
        fake
    }

    pub(in crate::identity) fn url(&self) -> &Url {
        &self.url
    }

    pub(in crate::identity) fn api_url(&self) -> Url {
        self.url.join("api/v3").unwrap()
    }

    /// From now on, `target` (path and query) is answered so.
    pub(in crate::identity) fn on(&self, target: &str, answer: Answer) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.answers.insert(target.to_owned(), answer);
        self
    }

    /// Whose account the next token is for.
    pub(in crate::identity) fn account(&self, id: u64, login: &str) -> &Self {
        let account = json!({"id": id, "login": login, "email": "public@profile.test"});
        self.on("/api/v3/user", Answer::json(&account))
    }

    /// Makes the account a member of `org`, in this state.
    pub(in crate::identity) fn member(&self, org: &str, state: &str) -> &Self {
        let membership = json!({"state": state, "role": "member", "organization": {"login": org}});
        let target = format!("/api/v3/user/memberships/orgs/{org}");
        self.on(&target, Answer::json(&membership))
    }

    /// The account's teams, page by page.
    pub(in crate::identity) fn teams(&self, pages: &[Vec<Value>]) -> &Self {
        for (number, page) in (1..).zip(pages) {
            let target = match number {
                1 => "/api/v3/user/teams?per_page=100".to_owned(),
                _ => format!("/api/v3/user/teams?page={number}"),
            };
            let mut answer = Answer::json(&json!(page));
            if number < pages.len() {
                let next = self
                    .url
                    .join(&format!("api/v3/user/teams?page={}", number + 1));
                let link = format!("<{}>; rel=\"next\"", next.unwrap());
                answer = answer.header("link", &link);
            }
            self.on(&target, answer);
        }
        self
    }

    /// The next request is not answered before the test says so.
    pub(in crate::identity) fn hold(&self) -> Held {
        let held = Held::default();
        self.script.lock().unwrap().held = Some(held.clone());
        held
    }

    pub(in crate::identity) fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }
}

impl Drop for FakeGitHub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let script = Arc::clone(&script);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &script));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    script: &Mutex<Script>,
) -> Result<Response<Full<Bytes>>, HangUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let target = head.uri.to_string();
    let (answer, held) = {
        let mut script = script.lock().unwrap();
        script.asked.push(Asked {
            target: target.clone(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        (script.answers.get(&target).cloned(), script.held.take())
    };
    if let Some(held) = held {
        held.0.0.notify_one();
        held.0.1.notified().await;
    }
    answer.unwrap_or_else(|| Answer::status(404)).response()
}
