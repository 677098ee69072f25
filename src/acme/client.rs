//! instant-acme's way to the CA: our own client, a deadline for each request, and an ear for
//! Retry-After, which the library does not pass on.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, Problem};
use url::Url;

use crate::http::client::{Allowance, HttpClient, is_confidential};

/// A certificate with its chain takes some 6 KB. A CA that looks at a proof before it answers gives
/// up on a silent port after 30 s (smallstep), and is to be heard then.
const ALLOWANCE: Allowance = Allowance {
    time: Duration::from_mins(1),
    size: 256 * 1024,
};

/// RFC 8555 §6.1 wants clients to name themselves.
const NAME: &str = concat!("mcp-guard/", env!("CARGO_PKG_VERSION"), " instant-acme");

type Answer = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

/// For one attempt: what the CA says about waiting is remembered for it.
#[derive(Clone)]
pub(super) struct Transport {
    client: HttpClient,
    wait: Arc<Mutex<Option<Duration>>>,
}

impl Transport {
    pub(super) fn new(client: HttpClient) -> Self {
        Self {
            client,
            wait: Arc::default(),
        }
    }

    /// How long the CA wanted us to wait when it last refused something.
    pub(super) fn wait(&self) -> Option<Duration> {
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (mut head, body) = request.into_parts();
        let url = Url::parse(&head.uri.to_string()).ok();
        // RFC 8555 §6.1: https, whatever the directory says.
        if !url.is_some_and(|url| is_confidential(&url)) {
            return Err(Error::Str("an address in the CA's directory is not https"));
        }
        head.headers
            .insert(USER_AGENT, HeaderValue::from_static(NAME));
        let is_post = head.method == Method::POST;
        let Ok(body) = body.collect().await;
        let request = Request::from_parts(head, body.to_bytes());
        let answer = self.client.send(request, ALLOWANCE).await;
        let answer = answer.map_err(|error| Error::Other(Box::new(error)))?;
        if answer.status().is_client_error() || answer.status().is_server_error() {
            *self.wait.lock().unwrap_or_else(PoisonError::into_inner) =
                retry_after(answer.headers());
            return refused(answer, is_post);
        }
        Ok(whole(answer))
    }
}

impl instant_acme::HttpClient for Transport {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answer {
        Box::pin(self.clone().exchange(request))
    }
}

/// The library reads what a POST is refused with, if the CA explains itself (RFC 8555 §6.7), and
/// takes all else for an answer.
fn refused(answer: Response<Bytes>, is_post: bool) -> Result<BytesResponse, Error> {
    match serde_json::from_slice::<Problem>(answer.body()) {
        Ok(_) if is_post => Ok(whole(answer)),
        Ok(problem) => Err(Error::Api(problem)),
        Err(_) => {
            let text = format!("the CA answered with status {}", answer.status().as_u16());
            Err(Error::Other(text.into()))
        }
    }
}

fn whole(answer: Response<Bytes>) -> BytesResponse {
    let (parts, body) = answer.into_parts();
    BytesResponse {
        parts,
        body: Box::new(body),
    }
}

/// Seconds or a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    date.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(waits("120"), Some(Duration::from_mins(2)));
        let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_hours(1));
        let wait = waits(&date).unwrap();
        assert!(wait > Duration::from_mins(59) && wait <= Duration::from_hours(1));
        for nothing in ["", "soon", "-5", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            assert_eq!(waits(nothing), None, "{nothing}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_not_https_is_refused() {
        let transport = Transport::new(HttpClient::default());
        for url in ["http://ca.test/directory", "/directory"] {
            let request = Request::get(url).body(BodyWrapper::default()).unwrap();
            let error = transport.clone().exchange(request).await.err().unwrap();
            assert!(error.to_string().contains("not https"), "{error}");
        }
    }

    #[test]
    fn only_an_explained_refusal_of_a_post_is_the_librarys_to_read() {
        let refusal = |body: &'static str, is_post| {
            let answer = Response::builder().status(503).body(Bytes::from(body));
            refused(answer.unwrap(), is_post).err()
        };
        assert!(refusal(r#"{"detail":"busy"}"#, true).is_none());
        assert!(matches!(
            refusal(r#"{"detail":"busy"}"#, false),
            Some(Error::Api(_))
        ));
        for is_post in [true, false] {
            let error = refusal("<html>", is_post).unwrap();
            assert!(error.to_string().contains("503"), "{error}");
        }
    }
}
