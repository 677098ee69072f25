//! Why there is no certificate: in the CA's words where it has any (RFC 8555 §6.7), with what to do.

use std::time::{Duration, Instant};

use instant_acme::{Error, Problem};

use crate::store::StoreError;

/// Nobody reads more of it.
const LONGEST: usize = 600;

/// The CA refuses for now without saying for how long.
const UNTOLD_LIMIT: Duration = Duration::from_hours(1);
/// No CA may silence us for longer.
const LONGEST_WAIT: Duration = Duration::from_hours(7 * 24);

const ERRORS: &str = "urn:ietf:params:acme:error:";

/// An attempt that came to nothing.
#[derive(Debug)]
pub(super) struct Failure {
    /// One line, fit for a log.
    pub(super) what: String,
    /// What the operator can do.
    pub(super) hint: &'static str,
    /// How long the CA wants to be left in peace.
    pub(super) wait: Duration,
    /// Whether it was the proof that failed, so that another kind of proof may do.
    pub(super) is_unproved: bool,
    /// The CA does not know our account.
    pub(super) is_account_gone: bool,
}

impl Failure {
    pub(super) fn new(what: &str, hint: &'static str) -> Self {
        Self {
            what: clean(what),
            hint,
            wait: Duration::ZERO,
            is_unproved: false,
            is_account_gone: false,
        }
    }

    /// The CA came to see the proof and was not content.
    pub(super) fn unproved(self) -> Self {
        Self {
            is_unproved: true,
            ..self
        }
    }

    /// Where it happened.
    pub(super) fn at(self, place: &str) -> Self {
        Self {
            what: format!("{place}: {}", self.what),
            ..self
        }
    }

    /// The CA asked for this much peace (RFC 9110 §10.2.3).
    pub(super) fn no_sooner(self, wait: Option<Duration>) -> Self {
        let wait = wait.unwrap_or_default().min(LONGEST_WAIT);
        Self {
            wait: self.wait.max(wait),
            ..self
        }
    }

    /// What and hint in one.
    pub(super) fn text(&self) -> String {
        format!("{}; {}", self.what, self.hint)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let kind = problem.r#type.clone().unwrap_or_default();
        let kind = kind.strip_prefix(ERRORS).unwrap_or_default();
        let failure = Self::new(&problem.to_string(), hint(kind));
        Self {
            wait: match kind {
                "rateLimited" => UNTOLD_LIMIT,
                _ => Duration::ZERO,
            },
            is_account_gone: kind == "accountDoesNotExist",
            ..failure
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => problem.into(),
            Error::Timeout(until) => {
                let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
                Self::new("the CA did not decide in time", "it will be tried again").no_sooner(wait)
            }
            other => Self::new(
                &other.to_string(),
                "check that the CA's directory can be reached from here, and its address",
            ),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(&error.to_string(), "see to the store")
    }
}

/// By the type of the problem (RFC 8555 §6.7).
fn hint(kind: &str) -> &'static str {
    match kind {
        "dns" => "check the name's A and AAAA records",
        "connection" | "tls" => {
            "the CA must reach ports 443 and 80 of every address of the name; check the firewall"
        }
        "unauthorized" | "incorrectResponse" => {
            "something else answers at the name's address: check its A and AAAA records and what \
             stands in front of the guard"
        }
        "caa" => "the name's CAA records must allow this CA",
        "rateLimited" => "wait; it will be tried again when the CA permits",
        "rejectedIdentifier" => "this CA does not issue for this name; check --tls-host",
        "externalAccountRequired" => {
            "this CA wants an account of its own: --tls-eab-kid and --tls-eab-hmac-key"
        }
        "invalidContact" | "unsupportedContact" => "check --tls-email",
        "invalidProfile" => "this CA has no such profile; check --tls-profile",
        "userActionRequired" => "visit the address that the CA names",
        "accountDoesNotExist" => "a new account is made with the next attempt",
        _ => "it will be tried again",
    }
}

/// What strangers wrote, as part of a line.
fn clean(text: &str) -> String {
    let visible = text.chars().map(|letter| match letter {
        letter if letter.is_control() => ' ',
        letter => letter,
    });
    visible.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Failure {
        let json = serde_json::json!({ "type": format!("{ERRORS}{kind}"), "detail": detail });
        serde_json::from_value::<Problem>(json).unwrap().into()
    }

    #[test]
    fn a155_what_the_ca_says_stays_one_line_of_bounded_length() {
        let failure = problem("dns", "no\r\nsuch\x1b[31mname");
        assert!(
            failure.what.contains("no  such [31mname"),
            "{}",
            failure.what
        );
        let failure = problem("dns", &"x".repeat(100_000));
        assert!(failure.text().len() < 1000);
    }

    #[test]
    fn the_operator_is_told_what_to_do() {
        for (kind, part) in [
            ("dns", "A and AAAA"),
            ("connection", "443 and 80"),
            ("unauthorized", "something else answers"),
            ("caa", "CAA"),
            ("externalAccountRequired", "--tls-eab-kid"),
            ("made-up", "tried again"),
        ] {
            assert!(problem(kind, "").text().contains(part), "{kind}");
        }
    }

    #[test]
    fn a146_a_limit_is_honoured_told_or_not_and_for_a_week_at_most() {
        let limited = problem("rateLimited", "too many");
        assert_eq!(limited.wait, UNTOLD_LIMIT);
        let two_hours = Duration::from_hours(2);
        assert_eq!(limited.no_sooner(Some(two_hours)).wait, two_hours);
        assert_eq!(
            problem("dns", "").no_sooner(Some(Duration::MAX)).wait,
            LONGEST_WAIT
        );
    }
}
