//! The address for a session's messages that an HTTP+SSE server announces (2024-11-05, "endpoint"
//! event): ours in place of its own, and bound to the principal by a MAC in the query, since the
//! session's id in there is no secret (threat cases ).

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::uri::PathAndQuery;
use url::form_urlencoded;

use crate::crypto::{Keyring, Purpose};
use crate::gateway::session_id::bound;
use crate::resource::Principal;

/// The query parameter with the MAC.
const PARAMETER: &str = "mcp_guard=";

/// As many paths are known to take messages; a server has one.
const KNOWN: usize = 16;

/// The addresses of one server.
pub(super) struct Endpoints {
    keyring: Keyring,
    /// Paths that were announced. Read without a lock.
    known: ArcSwap<Vec<String>>,
}

/// Somebody else's session, or none: 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotYours;

impl Endpoints {
    pub(super) fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            known: ArcSwap::default(),
        }
    }

    /// The address on the server, as `principal` is to see it, below the guard's own `prefix`.
    pub(super) fn announce(
        &self,
        address: &PathAndQuery,
        prefix: &str,
        principal: &Principal,
    ) -> String {
        self.learn(address.path());
        let separator = if address.query().is_some() { '&' } else { '?' };
        let mac = self.mac(address.as_str(), principal);
        let mac = URL_SAFE_NO_PAD.encode(mac);
        format!("{prefix}{address}{separator}{PARAMETER}{mac}")
    }

    /// The server's address in `target`, without what the guard added; `None` if that is nothing.
    /// `is_message` says whether a message is sent there: then an address that could be a session's
    /// needs its MAC.
    pub(super) fn resolve(
        &self,
        target: &PathAndQuery,
        is_message: bool,
        principal: &Principal,
    ) -> Result<Option<PathAndQuery>, NotYours> {
        let query = target.query().unwrap_or_default();
        let Some(mac) = query
            .split('&')
            .find_map(|part| part.strip_prefix(PARAMETER))
        else {
            let needed = is_message && self.is_session(target.path(), query);
            return if needed { Err(NotYours) } else { Ok(None) };
        };
        let rest: Vec<&str> = query
            .split('&')
            .filter(|part| !part.starts_with(PARAMETER))
            .collect();
        let address = match rest.join("&") {
            rest if rest.is_empty() => target.path().to_owned(),
            rest => format!("{}?{rest}", target.path()),
        };
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotYours)?;
        let bound = bound(address.as_bytes(), principal);
        if !self.keyring.verify(Purpose::UpstreamEndpoint, &bound, &mac) {
            return Err(NotYours);
        }
        PathAndQuery::try_from(address)
            .map(Some)
            .map_err(|_| NotYours)
    }

    fn mac(&self, address: &str, principal: &Principal) -> [u8; 17] {
        let bound = bound(address.as_bytes(), principal);
        self.keyring.mac(Purpose::UpstreamEndpoint, &bound)
    }

    /// Whether messages to this address go to one session: it was announced, or it looks like those
    /// of the SDKs, which another guard may have announced.
    fn is_session(&self, path: &str, query: &str) -> bool {
        // As a server reads it: `session%49d` is one, too.
        let names_session = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| {
            let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
            letters
                .map(|letter| letter.to_ascii_lowercase())
                .eq(*b"sessionid")
        });
        names_session || (!query.is_empty() && self.known.load().iter().any(|known| known == path))
    }

    fn learn(&self, path: &str) {
        if self.known.load().iter().any(|known| known == path) {
            return;
        }
        self.known.rcu(|known| {
            let mut known = Vec::clone(known);
            if known.len() < KNOWN {
                known.push(path.to_owned());
            }
            known
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::proxy::tests::principal;

    fn target(text: &str) -> PathAndQuery {
        text.parse().unwrap()
    }

    fn endpoints() -> Endpoints {
        Endpoints::new(Keyring::ephemeral())
    }

    #[test]
    fn a094_an_address_is_good_for_whom_it_was_given_to_and_for_nobody_else() {
        let endpoints = endpoints();
        for address in [
            "/messages/?session_id=abc",
            "/messages",
            "/m?x=1&sessionId=a%2Fb",
        ] {
            let given = endpoints.announce(&target(address), "", &principal("ann", "c1"));
            let resolved = |subject, client| {
                endpoints.resolve(&target(&given), true, &principal(subject, client))
            };
            assert_eq!(resolved("ann", "c1"), Ok(Some(target(address))), "{given}");
            assert_eq!(resolved("ben", "c1"), Err(NotYours));
            assert_eq!(resolved("ann", "c2"), Err(NotYours));
        }
    }

    #[test]
    fn a094_the_address_of_a_session_needs_its_mac() {
        let endpoints = endpoints();
        let ann = principal("ann", "c1");
        let given = endpoints.announce(&target("/post?channel=abc"), "", &ann);
        for address in [
            "/messages/?session_id=abc",
            "/messages?sessionId=abc",
            "/x?a=b&SESSION-ID=abc",
            "/x?session%49d=abc",
            "/x?%73ession+id=abc",
            "/post?channel=abc",
            "/post?channel=other",
            &given.replace("abc", "abd"),
            &format!("{given}A"),
            "/post?channel=abc&mcp_guard=",
        ] {
            let resolved = endpoints.resolve(&target(address), true, &ann);
            assert_eq!(resolved, Err(NotYours), "{address}");
        }
        for address in ["/mcp", "/mcp?a=b", "/post"] {
            let resolved = endpoints.resolve(&target(address), true, &ann);
            assert_eq!(resolved, Ok(None), "{address}");
        }
        let read = endpoints.resolve(&target("/x?sessionId=abc"), false, &ann);
        assert_eq!(read, Ok(None), "only messages need one");
    }

    #[test]
    fn the_prefix_stands_before_the_address() {
        let given = endpoints().announce(&target("/m?a=b"), "/team", &principal("ann", "c1"));
        assert!(given.starts_with("/team/m?a=b&mcp_guard="), "{given}");
    }
}
