//! `check --live`: what the guard that runs with this configuration says of itself: whether it is
//! ready, and what certificate it shows. It is asked from this machine, so what lies between it and
//! its clients is not seen.

use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use rustls_pki_types::CertificateDer;

use super::probe::{self, Answer, Door, LIMIT};
use super::{FAILED, complain, say};
use crate::config::Config;
use crate::tls::{Facts, covers};

pub(super) fn run(config: &Config) -> ExitCode {
    let mut causes = Vec::new();
    for door in probe::doors(&config.listening) {
        let deadline = Instant::now() + LIMIT;
        match probe::ask(&door, &config.external_url, "/readyz", deadline) {
            Ok(answer) => {
                say(&report(&door, &answer, config.external_url.host()));
                if answer.status != 200 {
                    causes.push(format!("{} answers {}", door.address, answer.status));
                }
            }
            Err(error) => causes.push(format!("{}: {error}", door.address)),
        }
    }
    if causes.is_empty() {
        return ExitCode::SUCCESS;
    }
    complain(
        &"the running guard is not ready",
        &causes,
        Some("see its log; if it runs with another configuration, give that"),
    );
    ExitCode::from(FAILED)
}

fn report(door: &Door<'_>, answer: &Answer, host: &str) -> String {
    let state = match answer.status {
        200 => "ready".to_owned(),
        status => format!("not ready ({status})"),
    };
    let certificate = answer.leaf.as_ref().map(|leaf| certificate(leaf, host));
    format!(
        "{}: {state}\n{}",
        door.address,
        certificate.unwrap_or_default()
    )
}

/// Nobody vouches here for what it says: a client may still have a reason to refuse it.
fn certificate(leaf: &CertificateDer<'_>, host: &str) -> String {
    let Some(facts) = Facts::of(leaf) else {
        return "  certificate  that cannot be read\n".to_owned();
    };
    let lacking = if covers(leaf, host) {
        String::new()
    } else {
        format!(", and not for {host}")
    };
    let ended = if facts.not_after <= SystemTime::now() {
        " (expired)"
    } else {
        ""
    };
    format!(
        "  certificate  for {}{lacking}\n  issued by    {}\n  valid until  {}{ended}\n",
        facts.names_for_people(),
        facts.issuer.escape_debug(),
        facts.expiry(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::self_signed;

    #[test]
    fn a_certificate_is_described_and_a_name_that_it_lacks_is_said() {
        let pair = self_signed("guard.test");
        let leaf = pair.leaf().unwrap();
        let text = certificate(leaf, "guard.test");
        assert!(text.contains("for guard.test\n"), "{text}");
        assert!(text.contains("issued by    CN="), "{text}");
        assert!(text.contains("valid until  "), "{text}");
        let text = certificate(leaf, "other.test");
        assert!(text.contains("and not for other.test"), "{text}");
    }
}
