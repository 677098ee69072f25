//! What is answered in the clear while the guard speaks TLS: the CA's questions, and where to go
//! instead (threat cases ). Nothing that is guarded, and nothing made from the request
//! but a path that was found canonical.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::{Layout, Route, plain};
use crate::acme::Acme;
use crate::http::{Body, ExternalUrl, Inbound, Refusal, Reply, full};

/// Where the CA looks for its proof (RFC 8555 §8.3).
const CHALLENGE: &str = "/.well-known/acme-challenge/";
/// CAs make them of some forty characters.
const LONGEST_TOKEN: usize = 256;

const TOO_LATE: &str = "\
This is plain HTTP: whatever you sent has crossed the network readable by others, and is not accepted.
Use the https URL, and replace any token or password that was in this request.
";

/// The other face of a guard that speaks TLS.
pub struct PlainHttp {
    acme: Option<Arc<Acme>>,
    leaks: AtomicUsize,
}

impl PlainHttp {
    /// `acme` answers the CA, where certificates come from one.
    pub fn new(acme: Option<Arc<Acme>>) -> Self {
        Self {
            acme,
            leaks: AtomicUsize::new(0),
        }
    }

    /// What has an answer before the request is looked at as a whole: who shows a token here has lost
    /// it, and a redirect would make it look as if all were well.
    pub(super) fn refuse_token<B>(&self, request: &Request<B>) -> Option<Reply> {
        if !shows_token(request.headers(), request.uri()) {
            return None;
        }
        self.say_leak(request.method());
        Some(too_late())
    }

    pub(super) async fn answer(
        &self,
        request: &Inbound,
        url: &ExternalUrl,
        layout: Layout<'_>,
    ) -> Reply {
        if !is_read(&request.method) {
            // Scanners post to anything. What posts here was meant for us.
            if matches!(Route::of(layout, request.path()), Some(route) if route != Route::Mirrored)
            {
                self.say_leak(&request.method);
            }
            return too_late();
        }
        match request.path().strip_prefix(CHALLENGE) {
            Some(token) => self.prove(token).await,
            None => redirect(&location(url, request.target())),
        }
    }

    async fn prove(&self, token: &str) -> Reply {
        let Some(acme) = self.acme.as_ref().filter(|_| is_token(token)) else {
            return plain(StatusCode::NOT_FOUND);
        };
        let Some(proof) = acme.key_authorization(token).await else {
            return plain(StatusCode::NOT_FOUND);
        };
        let mut reply = Response::new(full(proof));
        let kind = HeaderValue::from_static("application/octet-stream");
        reply.headers_mut().insert(CONTENT_TYPE, kind);
        reply
    }

    /// A client that goes on so shall not fill the log.
    fn say_leak(&self, method: &Method) {
        let times = self.leaks.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(event = "sent_in_the_clear", %method, times,
                "a client sent over plain http what is for https only");
        }
    }
}

/// Where a request goes that cannot be repeated as it is; `None` if it deserves its refusal.
pub(super) fn instead_of(refusal: Refusal, method: &Method, url: &ExternalUrl) -> Option<Reply> {
    (is_read(method) && !refusal.close).then(|| redirect(&root(url)))
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn shows_token(headers: &HeaderMap, target: &Uri) -> bool {
    let query = target.query().unwrap_or_default();
    headers.contains_key(AUTHORIZATION)
        || query
            .split('&')
            .any(|pair| pair.starts_with("access_token="))
}

/// The alphabet of base64url (RFC 8555 §8.3), so that nothing else gets as far as the store.
fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(plain)
}

fn root(url: &ExternalUrl) -> String {
    url.join("/")
}

/// The same path and query at the external URL; never what the client takes for our name.
fn location(url: &ExternalUrl, target: &Uri) -> String {
    match target.path_and_query() {
        Some(path) => format!("{}{path}", url.origin()),
        None => root(url),
    }
}

fn redirect(location: &str) -> Reply {
    let Ok(location) = HeaderValue::from_str(location) else {
        return plain(StatusCode::NOT_FOUND);
    };
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let headers = reply.headers_mut();
    headers.insert(LOCATION, location);
    // Who leaves TLS again one day shall not be kept out by what browsers remember.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn too_late() -> Reply {
    let mut reply = Response::new(full(TOO_LATE));
    *reply.status_mut() = StatusCode::FORBIDDEN;
    let headers = reply.headers_mut();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url() -> ExternalUrl {
        ExternalUrl::parse("https://guard.test:8443/team").unwrap()
    }

    #[test]
    fn a152_a_redirect_leads_to_the_external_url_whatever_was_asked_for() {
        for (target, expected) in [
            ("/team/mcp?a=b", "https://guard.test:8443/team/mcp?a=b"),
            ("/", "https://guard.test:8443/"),
            ("http://evil.test/x", "https://guard.test:8443/x"),
        ] {
            assert_eq!(location(&url(), &target.parse().unwrap()), expected);
        }
        let reply = redirect(&root(&url()));
        assert_eq!(reply.status(), 308);
        assert_eq!(reply.headers()["location"], "https://guard.test:8443/team/");
    }

    #[test]
    fn a149_only_what_could_be_a_token_is_looked_up() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"));
        for text in [
            "",
            "a/b",
            "..",
            "a.b",
            "a%2e",
            "a b",
            "a=",
            &"a".repeat(257),
        ] {
            assert!(!is_token(text), "{text}");
        }
    }

    #[test]
    fn a_token_in_the_clear_is_refused_wherever_it_stands() {
        let shows = |target: &str, headers: &[(&'static str, &str)]| {
            let mut request = Request::get(target);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let reply = PlainHttp::new(None).refuse_token(&request.body(()).unwrap());
            reply.is_some_and(|reply| reply.status() == 403)
        };
        assert!(shows("/mcp", &[("authorization", "Bearer x")]));
        assert!(shows("/mcp?a=b&access_token=x", &[]));
        assert!(!shows("/mcp?a=access_token", &[("cookie", "a=b")]));
    }
}
