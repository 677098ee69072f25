//! The one page on which a person says who may use the server, and who they are.

use askama::Template;

use super::render;

/// Where the answer goes: the one thing on the page that a client cannot make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A web site, by its host.
    Web(&'a str),
    /// A program on the person's computer, by the address that it listens on.
    Loopback(&'a str),
    /// Whatever app opens links of this scheme.
    App(&'a str),
}

/// Consent and sign-in in one form.
#[derive(Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    pub server_name: &'a str,
    pub destination: Destination<'a>,
    /// As [`super::display_name`] leaves it.
    pub client_name: Option<&'a str>,
    pub resource: &'a str,
    /// What is asked for, a line each.
    pub permissions: &'a [&'a str],
    /// Where the form goes, as a path on this origin.
    pub sign_in_action: &'a str,
    pub cancel_action: &'a str,
    /// The pending request, sealed.
    pub sealed_request: &'a str,
    /// What stands in the name field; `None`: there is no such field.
    pub name: Option<&'a str>,
    /// What went wrong at the last try.
    pub problem: Option<&'a str>,
}

impl Consent<'_> {
    pub fn html(&self) -> String {
        render(self)
    }

    /// The first empty field has the focus.
    fn focus_password(&self) -> bool {
        self.name.is_none_or(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Consent<'_> = Consent {
        server_name: "Files",
        destination: Destination::Web("client.example"),
        client_name: Some("Some app"),
        resource: "https://guard.test/mcp",
        permissions: &["Use everything"],
        sign_in_action: "/.auth/password",
        cancel_action: "/.auth/continue",
        sealed_request: "AbC-_9",
        name: None,
        problem: None,
    };

    #[test]
    fn the_page_says_who_asks_for_what_and_where_it_goes() {
        let page = PAGE.html();
        for text in [
            "Allow an app to use Files?",
            r#"<p class="host"><bdi>client.example</bdi></p>"#,
            "Some app",
            "unverified",
            "https://guard.test/mcp",
            "Use everything",
            r#"value="AbC-_9""#,
        ] {
            assert!(page.contains(text), "{text} is missing from {page}");
        }
        assert!(!page.contains(r#"class="note""#));
    }

    #[test]
    fn a012_programs_and_schemes_that_anybody_may_claim_carry_a_warning() {
        let scheme = Consent {
            destination: Destination::App("cursor"),
            ..PAGE
        }
        .html();
        assert!(scheme.contains("Any app on this device can claim cursor: links"));
        let loopback = Consent {
            destination: Destination::Loopback("localhost:3118"),
            ..PAGE
        }
        .html();
        assert!(loopback.contains("Any program on this computer could be asking"));
        assert!(loopback.contains("localhost:3118"));
    }

    #[test]
    fn a014_a_hostile_name_is_text() {
        let name = "<img src=x onerror=alert(1)> {{7*7}} \" '";
        let page = Consent {
            client_name: Some(name),
            ..PAGE
        }
        .html();
        assert!(!page.contains("<img"));
        assert!(page.contains("&#60;img") && page.contains("{{7*7}}"));
    }

    #[test]
    fn a042_every_value_on_the_page_is_escaped() {
        let evil = "\"><svg onload=1>'";
        let page = Consent {
            server_name: evil,
            destination: Destination::App(evil),
            client_name: Some(evil),
            resource: evil,
            permissions: &[evil],
            sign_in_action: evil,
            cancel_action: evil,
            sealed_request: evil,
            name: Some(evil),
            problem: Some(evil),
        };
        assert!(!page.html().contains("<svg onload"));
        assert!(!page.html().contains("<script"));
    }

    #[test]
    fn password_managers_and_screen_readers_find_their_way() {
        let page = Consent {
            name: Some("ann"),
            problem: Some("Wrong."),
            ..PAGE
        }
        .html();
        for text in [
            r#"<html lang="en">"#,
            r#"<label for="name">"#,
            r#"<label for="password">"#,
            r#"autocomplete="username""#,
            r#"autocomplete="current-password""#,
            r#"role="alert">Wrong.<"#,
            r#"value="ann""#,
        ] {
            assert!(page.contains(text), "{text} is missing from {page}");
        }
        assert!(!PAGE.html().contains(r#"name="name""#));
    }
}
