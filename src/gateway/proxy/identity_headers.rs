//! What the guard tells a wrapped HTTP server with every request: who is calling, from where, at
//! which address, and the operator's own header fields.
//!
//! Set last and in place of whatever was there. A text that no header field can hold
//! as it is, or that would end a list early, is percent-encoded, and `%` with it, so that what is
//! decoded is what was meant, and no login or group can pass for another.

use std::fmt::Write as _;
use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::assertion::{self, Assertions};
use crate::http::ExternalUrl;
use crate::http::headers::{Constant, Filter};
use crate::identity::Identity;
use crate::resource::Principal;
use crate::upstream::http::Settings;

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
static ASSERTION: HeaderName = assertion::HEADER;

/// Made once for a wrapped server.
pub(in crate::gateway) struct IdentityHeaders {
    /// Whether `X-Forwarded-User` and its like are sent.
    identity: bool,
    mapping: Vec<(String, HeaderName)>,
    /// What clients see of the guard: scheme, host, path prefix.
    public: Vec<(HeaderName, HeaderValue)>,
    /// The operator's, and the credential.
    own: Vec<(HeaderName, HeaderValue)>,
    assertions: Option<Box<Assertions>>,
}

/// What the guard says with one request.
pub(super) struct Said<'p> {
    /// The same for all requests of a principal's.
    pub(super) told: &'p Constant,
    client: Option<HeaderValue>,
    assertion: Option<HeaderValue>,
}

impl IdentityHeaders {
    pub(in crate::gateway) fn new(
        settings: &Settings,
        external: &ExternalUrl,
        assertions: Option<Assertions>,
    ) -> Self {
        let scheme = if external.is_https() { "https" } else { "http" };
        let public = [
            (PROTO, scheme),
            (HOST, external.authority()),
            (PREFIX, external.prefix()),
        ];
        let public = public
            .into_iter()
            .filter_map(|(name, text)| Some((name, field(text)?)));
        let credential = settings.bearer_token.as_ref().and_then(bearer);
        Self {
            identity: settings.identity_headers,
            mapping: settings.header_mapping.clone(),
            public: public.collect(),
            own: settings.headers.iter().cloned().chain(credential).collect(),
            assertions: assertions.map(Box::new),
        }
    }

    /// What lets through only what a client may say: none of the names that are set here.
    pub(super) fn filter(&self) -> Filter {
        let own = self.own.iter().map(|(name, _)| name);
        let mapped = self.mapping.iter().map(|(_, name)| name);
        Filter::new(own.chain(mapped).cloned())
    }

    /// What to say with a request of `principal`'s that came from `client`.
    pub(super) fn say<'p>(&self, principal: &'p Principal, client: IpAddr) -> Said<'p> {
        let told = principal
            .told
            .get_or_init(|| self.tell(&principal.identity));
        let is_told = |name: &HeaderName| told.fields().any(|(told, _)| told == name);
        let client = (!is_told(&FOR)).then(|| value(address(client)));
        let assertions = self.assertions.as_ref();
        Said {
            told,
            client: client.flatten(),
            assertion: assertions.and_then(|assertions| assertions.of(principal)),
        }
    }

    /// Who is calling, and all else that is the same for every request of a principal's. The
    /// operator's own fields stand in place of whatever has their name.
    fn tell(&self, identity: &Identity) -> Constant {
        let mut told = HeaderMap::new();
        told.extend(self.public.iter().cloned());
        let usual = self.identity.then(|| usual_fields(identity));
        let mapped = self.mapping.iter().map(|(pointer, name)| {
            let claim = identity.claims.get(pointer);
            (name.clone(), claim.and_then(claimed))
        });
        for (name, value) in usual.into_iter().flatten().chain(mapped) {
            if let Some(value) = value {
                told.insert(name, value);
            }
        }
        for (name, _) in &self.own {
            told.remove(name);
        }
        for (name, value) in &self.own {
            told.append(name, value.clone());
        }
        told.remove(&ASSERTION);
        told.iter().collect()
    }
}

impl Said<'_> {
    /// What differs from request to request. Nothing of these names, or of those that are told,
    /// passes [`IdentityHeaders::filter`].
    pub(super) fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        let client = self.client.iter().map(|value| (&FOR, value));
        let assertion = self.assertion.iter().map(|value| (&ASSERTION, value));
        client.chain(assertion)
    }
}

/// `X-Forwarded-User` and its like; no value where there is nothing to say.
fn usual_fields(identity: &Identity) -> [(HeaderName, Option<HeaderValue>); 4] {
    [
        (USER, field(identity.subject.as_str())),
        (PREFERRED_USERNAME, field(&identity.login)),
        (EMAIL, identity.email.as_deref().and_then(field)),
        (GROUPS, list(identity.groups.iter().map(String::as_str))),
    ]
}

/// A claim as a header field: text as it is, numbers and truth values as JSON has them, lists of
/// those with commas between. Anything deeper is no header field.
fn claimed(claim: &Value) -> Option<HeaderValue> {
    let Value::Array(elements) = claim else {
        return field(&scalar(claim)?);
    };
    let elements: Option<Vec<String>> = elements.iter().map(scalar).collect();
    list(elements?.iter().map(String::as_str))
}

fn scalar(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(claim.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// One text, encoded where it must be. `None` if it is empty.
fn field(text: &str) -> Option<HeaderValue> {
    let mut encoded = String::with_capacity(text.len());
    encode(&mut encoded, text, "");
    value(encoded)
}

/// Texts with commas between. `None` if there are none.
fn list<'a>(elements: impl Iterator<Item = &'a str>) -> Option<HeaderValue> {
    let mut encoded = String::new();
    for element in elements.filter(|element| !element.is_empty()) {
        if !encoded.is_empty() {
            encoded.push(',');
        }
        encode(&mut encoded, element, ",");
    }
    value(encoded)
}

/// As text; the standard library's way to write an IPv4 address costs ten times as much.
fn address(client: IpAddr) -> String {
    let IpAddr::V4(client) = client else {
        return client.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for octet in client.octets() {
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

fn value(encoded: String) -> Option<HeaderValue> {
    let value = HeaderValue::try_from(encoded).ok()?;
    (!value.is_empty()).then_some(value)
}

/// Percent-encodes (RFC 3986 §2.1) all but visible ASCII and the spaces within; of visible ASCII,
/// `%` and whatever is in `also`.
fn encode(to: &mut String, text: &str, also: &str) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let letter = char::from(byte);
        let within = byte == b' ' && at != 0 && at != last;
        let plain = within || (byte.is_ascii_graphic() && byte != b'%' && !also.contains(letter));
        if plain {
            to.push(letter);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// What the wrapped server is shown in place of the client's token.
fn bearer(token: &SecretString) -> Option<(HeaderName, HeaderValue)> {
    let credential = format!("Bearer {}", token.expose_secret());
    let Ok(mut credential) = HeaderValue::try_from(credential) else {
        tracing::error!(
            "--proxy-bearer-token is no token that a header field can hold; none is sent"
        );
        return None;
    };
    credential.set_sensitive(true);
    Some((AUTHORIZATION, credential))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, OnceLock};

    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::{ClientId, GrantId, ResourceUri, Scopes};
    use crate::identity::Subject;

    /// Somebody with a little of everything.
    pub(in crate::gateway::proxy) fn principal() -> Principal {
        let claims = [
            ("/name", json!("Anna Ä. 100%")),
            ("/level", json!(3)),
            ("/staff", json!(true)),
            ("/roles", json!(["dev", "a,b", 7])),
            ("/address", json!({"city": "Bern"})),
            ("/deep", json!([["x"]])),
            ("/none", json!(null)),
            ("/empty", json!("")),
        ];
        Principal {
            identity: Arc::new(Identity {
                subject: Subject::oidc("https://idp.test", "7"),
                login: "anna".into(),
                email: Some("anna@example.com".into()),
                groups: vec!["admins".into(), "a,b".into()],
                claims: claims.map(|(at, claim)| (at.into(), claim)).into(),
            }),
            client: ClientId("mcp_1".into()),
            grant: GrantId("g".into()),
            scopes: Scopes("mcp".into()),
            resource: ResourceUri("https://guard.test/team/mcp".into()),
            expires_at: Timestamp(u64::MAX),
            told: OnceLock::new(),
        }
    }

    fn settings() -> Settings {
        Settings {
            url: Url::parse("http://127.0.0.1:9000/mcp").unwrap(),
            bearer_token: None,
            headers: Vec::new(),
            identity_headers: true,
            header_mapping: Vec::new(),
            identity_jwt: false,
            extra_roots: None,
        }
    }

    fn mapped(claims: &[(&str, &'static str)]) -> Settings {
        let pair =
            |(at, name): &(&str, &'static str)| ((*at).to_owned(), HeaderName::from_static(name));
        Settings {
            header_mapping: claims.iter().map(pair).collect(),
            ..settings()
        }
    }

    /// What a wrapped server sees of a request with these header fields.
    fn forwarded(settings: &Settings, principal: &Principal, sent: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let external = ExternalUrl::parse("https://guard.test:8443/team").unwrap();
        let ours = IdentityHeaders::new(settings, &external, None);
        let said = ours.say(principal, "192.0.2.7".parse().unwrap());
        let filter = ours.filter();
        let mut forwarded = HeaderMap::new();
        let ours = said.told.fields().chain(said.fields());
        for (name, value) in filter.request(&headers).chain(ours) {
            forwarded.append(name, value.clone());
        }
        forwarded
    }

    #[test]
    fn the_server_is_told_who_calls_from_where_and_under_which_address() {
        let headers = forwarded(&settings(), &principal(), &[]);
        for (name, expected) in [
            ("x-forwarded-user", "oidc:https://idp.test#7"),
            ("x-forwarded-preferred-username", "anna"),
            ("x-forwarded-email", "anna@example.com"),
            ("x-forwarded-groups", "admins,a%2Cb"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "guard.test:8443"),
            ("x-forwarded-prefix", "/team"),
        ] {
            assert_eq!(headers[name], expected, "{name}");
        }
        assert_eq!(headers.len(), 8);
    }

    #[test]
    fn an_address_is_written_as_everywhere() {
        for text in ["0.0.0.0", "192.0.2.7", "255.255.255.255", "2001:db8::7"] {
            assert_eq!(address(text.parse().unwrap()), text);
        }
    }

    #[test]
    fn what_is_not_known_is_not_sent_and_neither_is_what_was_switched_off() {
        let mut bob = principal();
        bob.identity = Arc::new(Identity::local("bob"));
        let headers = forwarded(&settings(), &bob, &[]);
        assert_eq!(headers["x-forwarded-user"], "local:bob");
        assert!(!headers.contains_key("x-forwarded-email"));
        assert!(!headers.contains_key("x-forwarded-groups"));

        let off = Settings {
            identity_headers: false,
            ..settings()
        };
        let headers = forwarded(&off, &principal(), &[("x-forwarded-user", "root")]);
        assert!(!headers.contains_key("x-forwarded-user"));
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    }

    #[test]
    fn a112_a113_the_servers_view_is_the_guards_alone() {
        let settings = Settings {
            headers: vec![
                (
                    HeaderName::from_static("x-api-key"),
                    "ours".parse().unwrap(),
                ),
                (
                    HeaderName::from_static("x-api-key"),
                    "and this".parse().unwrap(),
                ),
                (
                    HeaderName::from_static("x-forwarded-email"),
                    "fixed".parse().unwrap(),
                ),
            ],
            bearer_token: Some(SecretString::from("sesame")),
            ..mapped(&[("/level", "x-level"), ("/absent", "x-absent")])
        };
        let sent = [
            (
                "connection",
                "authorization, x-forwarded-user, x-api-key, x-level",
            ),
            ("authorization", "Bearer mga_theirs"),
            ("x-forwarded-user", "root"),
            ("X_Forwarded_User", "root"),
            ("x.forwarded.groups", "root"),
            ("x-api-key", "theirs"),
            ("x_api_key", "theirs"),
            ("x_level", "9"),
            ("x-absent", "theirs"),
            ("x-forwarded-for", "1.1.1.1"),
        ];
        let headers = forwarded(&settings, &principal(), &sent);
        assert_eq!(headers["authorization"], "Bearer sesame");
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["x-forwarded-user"], "oidc:https://idp.test#7");
        assert_eq!(headers["x-forwarded-email"], "fixed");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-level"], "3");
        let keys: Vec<_> = headers.get_all("x-api-key").iter().collect();
        assert_eq!(keys, ["ours", "and this"]);
        let theirs = ["root", "theirs", "9", "1.1.1.1"];
        assert!(
            headers
                .values()
                .all(|value| !theirs.iter().any(|it| value == it))
        );
    }

    #[test]
    fn claims_become_header_fields_if_they_can() {
        let settings = mapped(&[
            ("/name", "x-name"),
            ("/level", "x-level"),
            ("/staff", "x-staff"),
            ("/roles", "x-roles"),
            ("/address", "x-address"),
            ("/deep", "x-deep"),
            ("/none", "x-none"),
            ("/empty", "x-empty"),
            ("/absent", "x-absent"),
        ]);
        let headers = forwarded(&settings, &principal(), &[]);
        assert_eq!(headers["x-name"], "Anna %C3%84. 100%25");
        assert_eq!(headers["x-level"], "3");
        assert_eq!(headers["x-staff"], "true");
        assert_eq!(headers["x-roles"], "dev,a%2Cb,7");
        for name in ["x-address", "x-deep", "x-none", "x-empty", "x-absent"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn no_name_breaks_out_of_its_field_or_passes_for_another() {
        for (login, expected) in [
            ("anna", "anna"),
            ("Anna Meier", "Anna Meier"),
            (" anna ", "%20anna%20"),
            ("änna", "%C3%A4nna"),
            (
                "a\r\nX-Forwarded-User: root",
                "a%0D%0AX-Forwarded-User: root",
            ),
            ("a%2Cb", "a%252Cb"),
            ("a\0\u{7f}", "a%00%7F"),
            (" ", "%20"),
        ] {
            assert_eq!(field(login).unwrap(), expected, "{login:?}");
        }
        assert_eq!(field(""), None);
        assert_eq!(list(["", "a", "", "b,c"].into_iter()).unwrap(), "a,b%2Cc");
        assert_eq!(list([""].into_iter()), None);
    }

    #[test]
    fn a_credential_that_no_field_can_hold_is_not_sent_in_part() {
        let settings = Settings {
            bearer_token: Some(SecretString::from("a\r\nX: y")),
            ..settings()
        };
        let headers = forwarded(&settings, &principal(), &[]);
        assert!(!headers.contains_key("authorization"));
        assert!(!headers.contains_key("x"));
    }
}
