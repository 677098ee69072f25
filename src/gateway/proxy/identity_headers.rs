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
use crate::http::headers::Filter;
use crate::identity::Identity;
use crate::resource::Principal;
use crate::upstream::http::Settings;

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Made once for a wrapped server.
pub(in crate::gateway) struct IdentityHeaders {
    /// Whether `X-Forwarded-User` and its like are sent.
    identity: bool,
    mapping: Vec<(String, HeaderName)>,
    /// What clients see of the guard: scheme, host, path prefix.
    public: Vec<(HeaderName, HeaderValue)>,
    /// The operator's, and the credential.
    own: Vec<(HeaderName, HeaderValue)>,
    assertions: Option<Assertions>,
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
            assertions,
        }
    }

    /// What lets through only what a client may say: none of the names that are set here.
    pub(super) fn filter(&self) -> Filter {
        let own = self.own.iter().map(|(name, _)| name);
        let mapped = self.mapping.iter().map(|(_, name)| name);
        Filter::new(own.chain(mapped).cloned())
    }

    /// Sets all of them for a request of `principal`'s that came from `client`.
    pub(super) fn set(&self, headers: &mut HeaderMap, principal: &Principal, client: IpAddr) {
        set(headers, FOR, field(&client.to_string()));
        for (name, value) in &self.public {
            headers.insert(name, value.clone());
        }
        if self.identity {
            set_identity(headers, &principal.identity);
        }
        for (pointer, name) in &self.mapping {
            let claim = principal.identity.claims.get(pointer);
            set(headers, name.clone(), claim.and_then(claimed));
        }
        for (name, _) in &self.own {
            headers.remove(name);
        }
        for (name, value) in &self.own {
            headers.append(name, value.clone());
        }
        if let Some(assertions) = &self.assertions {
            set(headers, assertion::HEADER, assertions.of(principal));
        }
    }
}

fn set_identity(headers: &mut HeaderMap, identity: &Identity) {
    set(headers, USER, field(identity.subject.as_str()));
    set(headers, PREFERRED_USERNAME, field(&identity.login));
    set(headers, EMAIL, identity.email.as_deref().and_then(field));
    set(
        headers,
        GROUPS,
        list(identity.groups.iter().map(String::as_str)),
    );
}

/// In place of what was there; nothing in place of it where there is nothing to say.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => _ = headers.insert(name, value),
        None => _ = headers.remove(name),
    }
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
