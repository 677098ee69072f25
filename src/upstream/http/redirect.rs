//! Redirects of the wrapped server. Frameworks move `/mcp` to `/mcp/` with a 307; clients that are
//! sent there lose their token or their body on the way. So the guard goes itself, but never to
//! another origin, and it tells nobody where it was sent (threat case A-124).

use std::collections::HashMap;

use arc_swap::ArcSwap;
use hyper::http::uri::PathAndQuery;
use hyper::{Response, StatusCode};
use url::Url;

/// As many paths are remembered; more than a server has that redirect.
const REMEMBERED: usize = 64;

/// The redirects of one server.
pub struct Redirects {
    origin: Url,
    /// Path → path that differs by the slash at its end. Read without a lock.
    known: ArcSwap<HashMap<String, String>>,
}

/// Why a redirect is not followed. The texts are for the log, and do not say where it led.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    #[error("it is not one that keeps method and body (307, 308)")]
    OtherKind,
    #[error("it leads to another origin")]
    OtherOrigin,
    #[error("its Location is missing or malformed")]
    Malformed,
}

impl Redirects {
    /// `url`: any URL of the server.
    pub fn new(url: &Url) -> Self {
        Self {
            origin: url.clone(),
            known: ArcSwap::default(),
        }
    }

    /// Where a request for `path` ends up, if an earlier one was redirected.
    pub fn known(&self, path: &str) -> Option<String> {
        let known = self.known.load();
        if known.is_empty() {
            return None;
        }
        known.get(path).cloned()
    }

    /// Where the answer to a request for `from` sends it.
    pub fn target<B>(
        &self,
        from: &PathAndQuery,
        response: &Response<B>,
    ) -> Result<PathAndQuery, NotFollowed> {
        if !matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        ) {
            return Err(NotFollowed::OtherKind);
        }
        let mut locations = response.headers().get_all("location").iter();
        let (Some(location), None) = (locations.next(), locations.next()) else {
            return Err(NotFollowed::Malformed);
        };
        let location = location.to_str().map_err(|_| NotFollowed::Malformed)?;
        let target = self.resolve(from.as_str(), location)?;
        self.learn(from, &target);
        Ok(target)
    }

    /// What `reference` means in an answer to a request for `from`, if it is on this server.
    pub fn resolve(&self, from: &str, reference: &str) -> Result<PathAndQuery, NotFollowed> {
        // The `url` crate would strip or repair these.
        if reference.is_empty() || !reference.bytes().all(is_plain) {
            return Err(NotFollowed::Malformed);
        }
        let base = self.origin.join(from).map_err(|_| NotFollowed::Malformed)?;
        let target = base.join(reference).map_err(|_| NotFollowed::Malformed)?;
        let same_origin = target.origin() == self.origin.origin();
        if !same_origin || !target.username().is_empty() || target.password().is_some() {
            return Err(NotFollowed::OtherOrigin);
        }
        let text = match target.query() {
            Some(query) => format!("{}?{query}", target.path()),
            None => target.path().to_owned(),
        };
        PathAndQuery::try_from(text).map_err(|_| NotFollowed::Malformed)
    }

    /// Only what can hold for everybody: a slash more or less.
    fn learn(&self, from: &PathAndQuery, target: &PathAndQuery) {
        let (old, new) = (from.path(), target.path());
        let differs_by_slash = old != new && old.trim_end_matches('/') == new.trim_end_matches('/');
        if !differs_by_slash || from.query() != target.query() {
            return;
        }
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < REMEMBERED {
                // The way back would send requests in circles.
                known.remove(new);
                known.insert(old.to_owned(), new.to_owned());
            }
            known
        });
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirects() -> Redirects {
        Redirects::new(&Url::parse("http://127.0.0.1:3000/mcp").unwrap())
    }

    fn target(redirects: &Redirects, status: u16, location: &str) -> Result<String, NotFollowed> {
        let response = Response::builder()
            .status(status)
            .header("location", location);
        let from = PathAndQuery::from_static("/mcp?a=b");
        let target = redirects.target(&from, &response.body(()).unwrap());
        target.map(|target| target.to_string())
    }

    #[test]
    fn a124_a_redirect_stays_on_the_servers_origin() {
        let redirects = redirects();
        for (location, leads_to) in [
            ("/mcp/", Ok("/mcp/")),
            ("http://127.0.0.1:3000/mcp/?a=b", Ok("/mcp/?a=b")),
            ("mcp/", Ok("/mcp/")),
            ("?x=1", Ok("/mcp?x=1")),
            ("/../../x", Ok("/x")),
            ("http://127.0.0.1:3001/mcp", Err(NotFollowed::OtherOrigin)),
            ("https://127.0.0.1:3000/mcp", Err(NotFollowed::OtherOrigin)),
            ("//evil.test/mcp", Err(NotFollowed::OtherOrigin)),
            (
                "http://127.0.0.1:3000@evil.test/",
                Err(NotFollowed::OtherOrigin),
            ),
            ("http://a:b@127.0.0.1:3000/", Err(NotFollowed::OtherOrigin)),
            ("http://169.254.169.254/", Err(NotFollowed::OtherOrigin)),
            ("file:///etc/passwd", Err(NotFollowed::OtherOrigin)),
            ("\\\\evil.test", Err(NotFollowed::Malformed)),
            ("/a\tb", Err(NotFollowed::Malformed)),
            ("", Err(NotFollowed::Malformed)),
            ("http://[", Err(NotFollowed::Malformed)),
        ] {
            let leads_to = leads_to.map(str::to_owned);
            assert_eq!(target(&redirects, 307, location), leads_to, "{location}");
        }
    }

    #[test]
    fn a124_only_redirects_that_keep_method_and_body_are_followed() {
        for status in [300, 301, 302, 303, 304, 305] {
            let refused = target(&redirects(), status, "/mcp/");
            assert_eq!(refused, Err(NotFollowed::OtherKind), "{status}");
        }
        assert!(target(&redirects(), 308, "/mcp/").is_ok());
    }

    #[test]
    fn a_slash_at_the_end_is_remembered_and_nothing_else() {
        let redirects = redirects();
        target(&redirects, 307, "/mcp/?a=b").unwrap();
        assert_eq!(redirects.known("/mcp").as_deref(), Some("/mcp/"));
        let redirects = self::redirects();
        target(&redirects, 308, "/elsewhere?a=b").unwrap();
        target(&redirects, 308, "/mcp/?a=c").unwrap();
        target(&redirects, 308, "/mcp?a=b").unwrap();
        assert_eq!(redirects.known("/mcp"), None);
    }
}
