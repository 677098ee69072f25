//! What people see in a browser: compiled templates, no script, no external resource.
//! Every reply made here carries the headers of design rule D-12.

mod consent;
mod landing;
mod name;
mod notice;

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};

use crate::http::{Reply, full};

pub use consent::{Consent, Destination, Password, Provider};
pub use landing::Landing;
pub use name::display_name;
pub use notice::{Link, Notice};

/// The one style sheet, which stands in every page.
const STYLE: &str = include_str!("templates/style.css");

/// No `form-action`: Chromium applies it to the redirect that follows a form, so it would cut off
/// the way back to the client (threat case A-043).
static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
    let style = STANDARD.encode(digest.as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// What every page is sent with. `no-referrer` instead of `same-origin` would make browsers send
/// `Origin: null` with our own forms (Appendix B.2).
///
/// No `Cross-Origin-Opener-Policy`: web clients open `/authorize` in a popup, and their callback page
/// reports to `window.opener`. Any value but the default cuts that tie for good, for the popup's
/// later pages as well, and the client waits for ever; `same-origin-allow-popups` spares popups that
/// we open, not those that we are. What an opener can do without it, it can do to any site: lead the
/// window elsewhere, or close it. There is no script here to talk to, and no frame.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// An answer that shows a page.
pub fn html(status: StatusCode, page: String) -> Reply {
    let mut reply = Reply::new(full(page));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        CONTENT_SECURITY_POLICY.clone(),
    );
    reply
}

/// A compiled template writes into memory, which cannot fail.
fn render(page: &impl askama::Template) -> String {
    page.render().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a041_every_page_forbids_framing_and_caching() {
        let reply = html(StatusCode::NOT_FOUND, String::new());
        let header = |name: &str| reply.headers()[name].to_str().unwrap();
        assert_eq!(reply.status(), 404);
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
    }

    /// That browsers do as the sheet says is shown by `tests/interop`.
    #[test]
    fn a041_buttons_wait_for_the_hand() {
        for rule in [
            "button { animation: absent .6s",
            ":root:hover button { animation: absent .6s, appear var(--fade) .6s backwards, deaf .6s; }",
            "@keyframes absent { from, to { visibility: hidden; } }",
            "@keyframes deaf { from, to { pointer-events: none; } }",
        ] {
            assert!(STYLE.contains(rule), "{rule}");
        }
    }

    #[test]
    fn a_client_that_opened_a_popup_can_hear_from_it() {
        let reply = html(StatusCode::OK, String::new());
        assert!(!reply.headers().contains_key("cross-origin-opener-policy"));
    }

    #[test]
    fn a042_the_policy_allows_the_one_style_sheet_and_nothing_else() {
        let policy = CONTENT_SECURITY_POLICY.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
        // What a browser hashes is the text between the tags, so it must stand there unchanged.
        let page = render(&Landing {
            server_name: "x",
            mcp_url: "https://a/mcp",
        });
        assert!(page.contains(&format!("<style>{STYLE}</style>")));
    }

    #[test]
    fn a043_forms_may_lead_back_to_the_client() {
        let policy = CONTENT_SECURITY_POLICY.to_str().unwrap();
        assert!(!policy.contains("form-action"));
        assert_eq!(
            html(StatusCode::OK, String::new()).headers()["referrer-policy"],
            "same-origin"
        );
    }
}
