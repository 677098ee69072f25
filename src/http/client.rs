//! Requests of the guard's own to other services: identity providers, and whatever else is asked
//! now and then. Not the way to a wrapped server, which has its own pool.
//!
//! Every request has a deadline for the whole of it and a limit on the answer's size; redirects are
//! answers like any other. Connections are not kept: these requests are rare, and a connection that
//! died meanwhile would cost a sign-in.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::{Host, Url};

use super::trust::{self, RootsError};

/// How much an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// From the first step of connecting to the last byte.
    pub time: Duration,
    /// Bytes of the answer's body.
    pub size: usize,
}

/// Why there is no answer. The texts are for the log: they never hold what a server sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the connection failed: {0}")]
    Connection(String),
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    extra_roots: Option<Vec<u8>>,
    /// Made when it is first needed: reading the system's roots takes longer than all else that
    /// happens at a start.
    client: OnceLock<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

impl HttpClient {
    /// A client that trusts the usual roots and those in `extra_roots`, as PEM.
    pub fn new(extra_roots: Option<Vec<u8>>) -> Self {
        Self {
            shared: Arc::new(Shared {
                extra_roots,
                client: OnceLock::new(),
            }),
        }
    }

    /// The answer, whatever its status, with its whole body.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        allowance: Allowance,
    ) -> Result<Response<Bytes>, ClientError> {
        tokio::time::timeout(allowance.time, self.exchange(request, allowance.size))
            .await
            .unwrap_or(Err(ClientError::TimedOut(allowance.time)))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        size: usize,
    ) -> Result<Response<Bytes>, ClientError> {
        let client = self
            .shared
            .client()
            .map_err(|error| ClientError::Connection(error.to_string()))?;
        let response = client
            .request(request.map(Full::new))
            .await
            .map_err(|error| ClientError::Connection(chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, size)
            .collect()
            .await
            .map_err(|error| match error.downcast::<hyper::Error>() {
                Ok(broken) => ClientError::Connection(broken.to_string()),
                Err(_) => ClientError::TooLarge(size),
            })?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl Shared {
    fn client(&self) -> Result<&Client<HttpsConnector<HttpConnector>, Full<Bytes>>, RootsError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::client_config(self.extra_roots.as_deref())?)
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(self.client.get_or_init(|| client))
    }
}

/// An error with its causes in one line: the library's own text says only "client error".
fn chain(error: &hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Whether a URL is good enough to send a secret to: https, or http to this very machine.
pub fn is_confidential(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name == "localhost",
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        time: Duration::from_secs(5),
        size: 1024,
    };

    /// What the client makes of a server that sends these bytes, and perhaps closes then.
    async fn receive(
        answer: &str,
        close: bool,
        allowance: Allowance,
    ) -> Result<Response<Bytes>, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = answer.to_owned();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.unwrap();
            let _ = stream.write_all(answer.as_bytes()).await;
            if !close {
                std::future::pending::<()>().await;
            }
        });
        let client = HttpClient::default();
        let request = Request::get(format!("http://{address}/")).body(Bytes::new());
        let received = client.send(request.unwrap(), allowance).await;
        server.abort();
        received
    }

    #[tokio::test]
    async fn an_answer_comes_whole_whatever_its_status_and_redirects_are_not_followed() {
        let text =
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 2\r\n\r\nok";
        let answer = receive(text, false, ALLOWANCE).await.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.body(), "ok");
    }

    #[tokio::test]
    async fn a_silent_a_broken_and_a_flooding_server_are_told_apart() {
        let short = Allowance {
            time: Duration::from_millis(50),
            ..ALLOWANCE
        };
        let silent = receive(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            false,
            short,
        )
        .await;
        assert!(
            matches!(silent, Err(ClientError::TimedOut(_))),
            "{silent:?}"
        );
        let broken = receive(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab",
            true,
            ALLOWANCE,
        )
        .await;
        assert!(
            matches!(broken, Err(ClientError::Connection(_))),
            "{broken:?}"
        );
        let flood = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}",
            "x".repeat(2000)
        );
        let flooding = receive(&flood, true, ALLOWANCE).await;
        assert!(
            matches!(flooding, Err(ClientError::TooLarge(1024))),
            "{flooding:?}"
        );
    }

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for (url, good) in [
            ("https://a.test/x", true),
            ("http://localhost:1", true),
            ("http://127.0.0.1:1", true),
            ("http://[::1]:1", true),
            ("http://a.test", false),
            ("http://localhost.a.test", false),
            ("http://10.0.0.1", false),
            ("ftp://localhost", false),
            ("data:x", false),
        ] {
            assert_eq!(is_confidential(&Url::parse(url).unwrap()), good, "{url}");
        }
    }
}
