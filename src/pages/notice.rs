//! A page that says one thing: what went wrong and what to do, or that all is done.

use askama::Template;
use hyper::StatusCode;

use super::{html, render};
use crate::http::Reply;

/// The way on from a notice.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    pub url: &'a str,
    pub text: &'a str,
    /// Whether the browser follows it by itself.
    pub at_once: bool,
}

/// One message.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "notice.html")]
pub struct Notice<'a> {
    pub server_name: &'a str,
    pub title: &'a str,
    pub what: &'a str,
    pub advice: Option<&'a str>,
    pub link: Option<Link<'a>>,
}

impl Notice<'_> {
    pub fn reply(&self, status: StatusCode) -> Reply {
        html(status, render(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_only_where_it_says_so() {
        let link = Link {
            url: "cursor://x/cb?code=1&state=a",
            text: "Return",
            at_once: true,
        };
        let notice = Notice {
            server_name: "Files",
            title: "Done",
            what: "You can go back.",
            advice: None,
            link: Some(link),
        };
        let page = render(&notice);
        assert!(page.contains("content=\"0; url=cursor://x/cb?code=1&#38;state=a\""));
        let link = Some(Link {
            at_once: false,
            ..link
        });
        assert!(!render(&Notice { link, ..notice }).contains("http-equiv"));
    }
}
