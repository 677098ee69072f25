//! The cookie that ties a consent page to the browser that it was shown in. It is no login and
//! carries nothing: it only has to be the same when the page comes back (design rule D-11; threat
//! cases … A-047).

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use crate::crypto::{TokenHash, random};
use crate::http::{ExternalUrl, cookie};

/// One browser, as far as we can tell.
pub(super) struct Browser {
    value: String,
    secure: bool,
}

impl Browser {
    /// The browser that sent these headers, if it has been here before.
    pub(super) fn recognise(headers: &HeaderMap, external: &ExternalUrl) -> Option<Self> {
        let secure = external.is_https();
        let value = cookie::get(headers, name(secure))?;
        // The form of `random::secret`; anything else was not set by us.
        let ours = value.len() == 43
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        ours.then(|| Self {
            value: value.to_owned(),
            secure,
        })
    }

    /// A browser that has not been here before.
    pub(super) fn new(external: &ExternalUrl) -> Self {
        Self {
            value: random::secret(),
            secure: external.is_https(),
        }
    }

    /// What pages for this browser are sealed with.
    pub(super) fn binding(&self) -> String {
        TokenHash::of(&self.value).to_text()
    }

    /// The cookie, until the browser is closed. The same value again for a browser that has it
    /// already, so that two tabs work and the jar holds one cookie of ours.
    pub(super) fn set_cookie(&self) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let name = name(self.secure);
        let text = format!(
            "{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}",
            self.value
        );
        HeaderValue::try_from(text).ok()
    }
}

/// Browsers accept a `__Host-` cookie from a secure origin only, and some do not count
/// `http://localhost` as one.
const fn name(secure: bool) -> &'static str {
    if secure { "__Host-mg-b" } else { "mg-b" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::try_from(cookie).unwrap());
        headers
    }

    #[test]
    fn a046_the_cookie_is_for_this_host_and_hidden_from_scripts() {
        let https = ExternalUrl::parse("https://guard.test").unwrap();
        let browser = Browser::new(&https);
        let cookie = browser.set_cookie().unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.starts_with("__Host-mg-b="));
        assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"));

        let returned = jar(cookie.split(';').next().unwrap());
        let again = Browser::recognise(&returned, &https).unwrap();
        assert_eq!(again.binding(), browser.binding());
        assert_eq!(again.set_cookie().unwrap(), cookie);
    }

    #[test]
    fn a046_cookies_that_we_did_not_set_are_not_adopted() {
        let https = ExternalUrl::parse("https://guard.test").unwrap();
        let value = "A".repeat(43);
        for cookie in [
            "__Host-mg-b=short".to_owned(),
            format!("mg-b={value}"),
            format!("__Host-mg-b=\"{value}\""),
            format!("__Host-mg-b={value}; __Host-mg-b={value}"),
            format!("__Host-mg-b={}", "A".repeat(500)),
        ] {
            assert!(
                Browser::recognise(&jar(&cookie), &https).is_none(),
                "{cookie}"
            );
        }
    }
}
