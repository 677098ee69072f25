//! Proof Key for Code Exchange (RFC 7636), S256 only: `plain` and no challenge at all are refused
//! for every client (OAuth 2.1 §4.1.1).

use serde::{Deserialize, Serialize};

use super::credential::is_base64url;
use crate::crypto::TokenHash;

/// An S256 challenge: 43 characters of base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CodeChallenge(String);

impl CodeChallenge {
    /// From the parameters of an authorization request; the error is for the client's developer.
    pub fn parse(challenge: Option<&str>, method: Option<&str>) -> Result<Self, &'static str> {
        let challenge = challenge.ok_or("code_challenge is required (PKCE, S256)")?;
        // Without a method RFC 7636 §4.3 means `plain`.
        if method != Some("S256") {
            return Err("code_challenge_method must be S256");
        }
        if challenge.len() != 43 || !challenge.bytes().all(is_base64url) {
            return Err("code_challenge must be 43 characters of base64url");
        }
        Ok(Self(challenge.to_owned()))
    }

    /// Whether `verifier` (43–128 unreserved characters) hashes to this challenge. Constant time.
    pub fn matches(&self, verifier: &str) -> bool {
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(is_unreserved) {
            return false;
        }
        // BASE64URL(SHA256(verifier)) is just what TokenHash writes. Comparing the hashes of both
        // texts tells a stopwatch nothing about either.
        let computed = TokenHash::of(verifier).to_text();
        TokenHash::of(&computed) == TokenHash::of(&self.0)
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 7636, Appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn challenge() -> CodeChallenge {
        CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_matches() {
        assert!(challenge().matches(VERIFIER));
    }

    #[test]
    fn no_other_verifier_matches() {
        let longer = format!("{VERIFIER}a");
        let last_changed = VERIFIER.replace("jXk", "jXl");
        for wrong in ["", CHALLENGE, &longer, &last_changed, &VERIFIER[..42]] {
            assert!(!challenge().matches(wrong), "{wrong}");
        }
    }

    #[test]
    fn verifiers_outside_the_grammar_never_match() {
        for wrong in [
            "a".repeat(42),
            "a".repeat(129),
            "ä".repeat(30),
            " ".repeat(43),
        ] {
            let challenge = CodeChallenge(TokenHash::of(&wrong).to_text());
            assert!(!challenge.matches(&wrong));
        }
        for right in ["a".repeat(43), "a".repeat(128), "-._~".repeat(20)] {
            assert!(CodeChallenge(TokenHash::of(&right).to_text()).matches(&right));
        }
    }

    #[test]
    fn plain_and_absent_methods_are_refused() {
        for method in [None, Some("plain"), Some("s256"), Some("")] {
            assert!(CodeChallenge::parse(Some(CHALLENGE), method).is_err());
        }
        assert!(CodeChallenge::parse(None, Some("S256")).is_err());
    }

    #[test]
    fn challenges_that_are_no_digest_are_refused() {
        let padded = format!("{CHALLENGE}=");
        for odd in ["", &CHALLENGE[..42], &padded, &CHALLENGE.replace('-', "+")] {
            assert!(CodeChallenge::parse(Some(odd), Some("S256")).is_err());
        }
    }
}
