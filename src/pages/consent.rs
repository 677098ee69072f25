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

/// Consent and sign-in on one page: choosing a way to sign in, or giving the password, is the
/// approval.
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
    /// Where to sign in elsewhere.
    pub providers: &'a [Provider<'a>],
    /// Where the choice of a provider and Cancel go, as a path on this origin.
    pub continue_action: &'a str,
    /// Sign-in here, where there are local users.
    pub password: Option<Password<'a>>,
    /// The pending request, sealed.
    pub sealed_request: &'a str,
    /// What went wrong at the last try.
    pub problem: Option<&'a str>,
}

/// One place to sign in elsewhere: a button.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// As in the form.
    pub key: &'a str,
    /// For people. The operator's word, never a client's.
    pub name: &'a str,
    /// Whether the last account from there was refused.
    pub other_account: bool,
}

/// The form for a local user.
#[derive(Clone, Copy, Debug)]
pub struct Password<'a> {
    /// Where the form goes, as a path on this origin.
    pub action: &'a str,
    /// What stands in the name field; `None`: there is no such field.
    pub name: Option<&'a str>,
    /// Whether the page is shown again because of what was typed.
    pub was_wrong: bool,
}

/// The field that a person need not click first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Focus {
    Nothing,
    Name,
    Password,
}

impl Consent<'_> {
    pub fn html(&self) -> String {
        render(self)
    }

    /// The first empty field, unless the buttons above it are what most people are here for.
    fn focus(&self) -> Focus {
        match self.password {
            Some(password) if self.providers.is_empty() || password.was_wrong => {
                if password.name.is_some_and(str::is_empty) {
                    Focus::Name
                } else {
                    Focus::Password
                }
            }
            _ => Focus::Nothing,
        }
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
        providers: &[],
        continue_action: "/.auth/continue",
        password: Some(PASSWORD),
        sealed_request: "AbC-_9",
        problem: None,
    };

    const PASSWORD: Password<'_> = Password {
        action: "/.auth/password",
        name: None,
        was_wrong: false,
    };

    const GITHUB: Provider<'_> = Provider {
        key: "github",
        name: "GitHub",
        other_account: false,
    };

    #[test]
    fn the_page_says_who_asks_for_what_and_where_it_goes() {
        let page = PAGE.html();
        for text in [
            "<h1>Allow access to <bdi>Files</bdi>?</h1>",
            "Did you just ask an app to connect?",
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
            providers: &[Provider {
                key: evil,
                name: evil,
                other_account: true,
            }],
            continue_action: evil,
            password: Some(Password {
                action: evil,
                name: Some(evil),
                was_wrong: true,
            }),
            sealed_request: evil,
            problem: Some(evil),
        };
        assert!(!page.html().contains("<svg onload"));
        assert!(!page.html().contains("<script"));
    }

    #[test]
    fn password_managers_and_screen_readers_find_their_way() {
        let page = Consent {
            password: Some(Password {
                name: Some("ann"),
                was_wrong: true,
                ..PASSWORD
            }),
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
            r#"aria-invalid="true" aria-describedby="problem""#,
            r#"<p class="alert" id="problem""#,
            "<title>Not signed in: ",
        ] {
            assert!(page.contains(text), "{text} is missing from {page}");
        }
        assert!(!PAGE.html().contains(r#"name="name""#));
        assert!(PAGE.html().contains("<title>Allow access to Files?<"));
    }

    fn count(page: &str, what: &str) -> usize {
        page.matches(what).count()
    }

    #[test]
    fn each_way_to_sign_in_is_a_button_and_there_is_one_cancel() {
        let google = Provider {
            key: "google",
            name: "Google",
            ..GITHUB
        };
        let both = Consent {
            providers: &[GITHUB, google],
            ..PAGE
        }
        .html();
        let elsewhere = Consent {
            providers: &[GITHUB],
            password: None,
            ..PAGE
        }
        .html();
        assert!(both.contains(r#"name="provider" value="github">Continue with GitHub<"#));
        assert!(both.contains(r#"name="provider" value="google">Continue with Google<"#));
        assert!(both.contains(r#"class="or""#) && both.contains(r#"type="password""#));
        assert!(!elsewhere.contains("assword") && !elsewhere.contains(r#"class="or""#));
        for page in [&both, &elsewhere, &PAGE.html()] {
            assert_eq!(count(page, r#"value="cancel">Cancel<"#), 1);
            assert_eq!(count(page, r#"id="cancel""#), 1);
        }
        assert!(both.contains("Signing in allows the app to use <bdi>Files</bdi>."));
        assert!(!PAGE.html().contains("Signing in allows"));
    }

    /// What comes first has the focus first; Enter in a field presses Allow nevertheless, for Cancel
    /// belongs to another form.
    #[test]
    fn cancel_stands_before_allow_and_is_no_form_s_default() {
        let page = PAGE.html();
        let at = |text: &str| page.find(text).unwrap();
        let cancel = at(r#"form="cancel" name="decision" value="cancel""#);
        let allow = at(r#"type="submit" name="decision" value="allow""#);
        assert!(at(r#"type="password""#) < cancel && cancel < allow);
        assert_eq!(count(&page, "<button"), 2);
    }

    #[test]
    fn after_a_refusal_the_button_offers_another_account_of_that_provider_only() {
        let refused = Provider {
            other_account: true,
            ..GITHUB
        };
        let oidc = Provider {
            key: "oidc",
            name: "Acme",
            ..GITHUB
        };
        let page = Consent {
            providers: &[refused, oidc],
            ..PAGE
        }
        .html();
        assert!(page.contains("Use another GitHub account"));
        assert!(page.contains("Continue with Acme"));
        assert_eq!(count(&page, r#"name="account" value="other""#), 1);
    }

    #[test]
    fn the_password_has_the_focus_where_it_is_the_way_to_sign_in() {
        let focused = |page: Consent<'_>| count(&page.html(), "autofocus");
        assert_eq!(focused(PAGE), 1);
        let providers = &[GITHUB];
        assert_eq!(focused(Consent { providers, ..PAGE }), 0);
        let password = Some(Password {
            was_wrong: true,
            ..PASSWORD
        });
        let again = Consent {
            providers,
            password,
            ..PAGE
        };
        assert_eq!(focused(again), 1);
    }
}
