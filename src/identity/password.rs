//! Passwords: hashing, checking, and telling bad ones.
//!
//! A password is compared in Unicode's composed form (NFC), so that it does not matter on which
//! keyboard it was typed; and never beyond [`MAX_LENGTH`], so that nobody can make us hash a novel.

use std::str::FromStr;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier};
use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::local::PasswordSecret;
use crate::crypto::{random, same_secret};

/// In bytes, before anything else is done with it.
const MAX_LENGTH: usize = 1024;

/// Bcrypt looks no further than this.
const MAX_BCRYPT_LENGTH: usize = 72;

/// In KiB: a hash that wants more than 1 GiB would be an attack on ourselves.
const MAX_ARGON2_MEMORY: u32 = 1 << 20;
const MAX_ARGON2_PASSES: u32 = 64;

/// A check takes seconds at 15, hours at 31.
const MAX_BCRYPT_COST: u32 = 15;

/// The shortest password that may guard something reachable from elsewhere.
const MIN_CHARACTERS: usize = 12;

/// An Argon2id PHC string for a password (`mcp-guard hash-password`): 19 MiB, two passes.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.len() > MAX_LENGTH {
        return Err(format!("the password is longer than {MAX_LENGTH} bytes"));
    }
    let password = composed(password);
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &random::bytes::<16>())
        .map_err(|error| error.to_string())?;
    Ok(hash.to_string())
}

/// Whether a text is a hash that [`LocalUsers`](super::local::LocalUsers) can check, at a bearable
/// cost: Argon2 PHC or bcrypt.
pub fn is_known_hash(text: &str) -> bool {
    is_argon2(text) || is_bcrypt(text)
}

/// What is wrong with a password that is to guard something reachable from elsewhere.
pub fn weakness(password: &str) -> Option<&'static str> {
    if password.chars().count() < MIN_CHARACTERS {
        return Some("it is shorter than 12 characters");
    }
    let folded: String = composed(password).to_lowercase();
    // `Changeme2026!` is `changeme`.
    let stem = folded.trim_end_matches(|c: char| !c.is_alphabetic());
    if stem.is_empty() {
        return Some("it has no letters");
    }
    if is_repetitive(&folded) {
        return Some("it repeats a few characters");
    }
    WELL_KNOWN
        .contains(&stem)
        .then_some("it is a well-known one")
}

/// A hash or password could not be checked: trouble of ours.
#[derive(Debug)]
pub(super) struct NotChecked;

/// Whether the password is the one.
pub(super) type Checked = Result<bool, NotChecked>;

/// Whether `password` is the one. Takes milliseconds and megabytes: call it on a thread that may
/// block.
pub(super) fn is_correct(password: &SecretString, secret: &PasswordSecret) -> Checked {
    let password = password.expose_secret();
    if password.len() > MAX_LENGTH {
        return Ok(false);
    }
    let password = composed(password);
    match secret {
        PasswordSecret::Plain(expected) => {
            Ok(same_secret(&password, &composed(expected.expose_secret())))
        }
        PasswordSecret::Hash(hash) if is_bcrypt(hash) => is_correct_bcrypt(&password, hash),
        PasswordSecret::Hash(hash) => is_correct_argon2(&password, hash),
    }
}

fn is_correct_argon2(password: &str, hash: &str) -> Checked {
    let hash = PasswordHash::new(hash).map_err(|_| NotChecked)?;
    match Argon2::default().verify_password(password.as_bytes(), &hash) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(NotChecked),
    }
}

/// Bcrypt ignores what follows the 72nd byte, and C implementations what follows a zero.
/// Such a password is wrong, but takes as long as any other.
fn is_correct_bcrypt(password: &str, hash: &str) -> Checked {
    let whole = password.len() <= MAX_BCRYPT_LENGTH && !password.contains('\0');
    let same = bcrypt::verify(password, hash).map_err(|_| NotChecked)?;
    Ok(same && whole)
}

fn is_argon2(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else {
        return false;
    };
    let Ok(params) = Params::try_from(&hash) else {
        return false;
    };
    Algorithm::try_from(hash.algorithm.as_str()).is_ok()
        && hash.salt.is_some()
        && hash.hash.is_some()
        && params.m_cost() <= MAX_ARGON2_MEMORY
        && params.t_cost() <= MAX_ARGON2_PASSES
}

fn is_bcrypt(text: &str) -> bool {
    let known = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    // The crate cuts at fixed places: see to it that they are there.
    known
        && text.len() == 60
        && text.is_ascii()
        && bcrypt::HashParts::from_str(text).is_ok_and(|parts| parts.get_cost() <= MAX_BCRYPT_COST)
}

fn composed(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

fn is_repetitive(password: &str) -> bool {
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    different.len() < 4
}

/// Folded, and without digits or signs at the end. Shorter than twelve letters where people fill up
/// with digits.
const WELL_KNOWN: &[&str] = &[
    "abc",
    "abcd",
    "abcdef",
    "abcdefgh",
    "abcdefghijkl",
    "abcdefghijklmnopqrstuvwxyz",
    "admin",
    "adminadmin",
    "adminadminadmin",
    "administrator",
    "adminpassword",
    "asdf",
    "asdfgh",
    "asdfghjkl",
    "baseball",
    "changeit",
    "changeme",
    "changemechangeme",
    "changemenow",
    "changemeplease",
    "changethis",
    "changethispassword",
    "claude",
    "claudecode",
    "correcthorsebatterystaple",
    "default",
    "defaultpassword",
    "dragon",
    "example",
    "examplepassword",
    "football",
    "guest",
    "guestguest",
    "hello",
    "helloworld",
    "iloveyou",
    "letmein",
    "letmeinletmein",
    "letmeinplease",
    "login",
    "manager",
    "master",
    "mcp",
    "mcp-guard",
    "mcpguard",
    "mcppassword",
    "monkey",
    "my-password",
    "my-secret",
    "my-secret-password",
    "mypassword",
    "mysecret",
    "mysecretpassword",
    "owner",
    "p@ssw0rd",
    "p@ssword",
    "pass",
    "passpass",
    "passw0rd",
    "password",
    "passwordpassword",
    "passphrase",
    "placeholder",
    "princess",
    "qazwsxedc",
    "qazwsxedcrfv",
    "qwerty",
    "qwertyqwerty",
    "qwertyuiop",
    "qwertyuiopasdf",
    "qwertyuiopasdfghjkl",
    "qwertyuiopasdfghjklzxcvbnm",
    "replaceme",
    "root",
    "rootroot",
    "secret",
    "secretpassword",
    "secretsecret",
    "security",
    "setme",
    "shadow",
    "summer",
    "sunshine",
    "super-secret",
    "supersecret",
    "supersecretpassword",
    "superuser",
    "temp",
    "temporary",
    "test",
    "testpassword",
    "testtest",
    "testtesttest",
    "thisisapassword",
    "trustno",
    "user",
    "welcome",
    "welcomewelcome",
    "winter",
    "your-password",
    "your-password-here",
    "yourpassword",
    "yourpasswordhere",
    "zxcvbn",
    "zxcvbnm",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(password: &str, hash: &str) -> bool {
        is_correct(&password.into(), &PasswordSecret::Hash(hash.into())).unwrap()
    }

    #[test]
    fn a068_a_new_hash_is_argon2id_of_at_least_19_mib_and_is_known() {
        let hash = hash_password("correct").unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(is_known_hash(&hash));
        assert!(check("correct", &hash));
        assert!(!check("incorrect", &hash));
        assert_ne!(hash, hash_password("correct").unwrap());
    }

    #[test]
    fn a068_nothing_over_1024_bytes_is_hashed() {
        assert!(hash_password(&"x".repeat(1024)).is_ok());
        assert!(hash_password(&"x".repeat(1025)).is_err());
        let long: SecretString = "x".repeat(1025).into();
        let plain = PasswordSecret::Plain(long.clone());
        assert!(!is_correct(&long, &plain).unwrap());
    }

    #[test]
    fn a069_composed_and_decomposed_letters_are_the_same() {
        let hash = hash_password("pa\u{308}ssword").unwrap();
        assert!(check("p\u{e4}ssword", &hash));
        let plain = PasswordSecret::Plain("p\u{e4}ssword".into());
        assert!(is_correct(&"pa\u{308}ssword".into(), &plain).unwrap());
        assert!(!is_correct(&"password".into(), &plain).unwrap());
    }

    #[test]
    fn a069_bcrypt_never_judges_by_the_first_72_bytes() {
        let long = "x".repeat(72);
        let hash = bcrypt::hash(&long, 4).unwrap();
        assert!(is_known_hash(&hash));
        assert!(check(&long, &hash));
        assert!(!check(&format!("{long}y"), &hash));
        let short = bcrypt::hash("short", 4).unwrap();
        assert!(!check("short\0tail", &short));
        assert!(check("short", &short.replacen("$2b$", "$2y$", 1)));
    }

    #[test]
    fn only_hashes_of_bearable_cost_are_known() {
        let hash = hash_password("x").unwrap();
        let cases = [
            hash.replace("m=19456", "m=4294967295"),
            hash.replace("t=2", "t=4294967295"),
            hash.replace("argon2id", "scrypt"),
            hash.rsplit_once('$').unwrap().0.to_owned(),
            bcrypt::hash("x", 4).unwrap().replace("$04$", "$31$"),
            "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".into(),
            "$apr1$x$y".into(),
            format!("$2b$04${}", "é".repeat(27)) + "x",
            String::new(),
        ];
        for case in cases {
            assert!(!is_known_hash(&case), "{case}");
        }
    }

    #[test]
    fn a160_weak_passwords_are_told() {
        let weak = [
            "",
            "short",
            "elevenchars",
            "changeme2026",
            "ChangeMe12345!",
            "password1234",
            "PASSWORD!!!!",
            "passwordpassword",
            "123456789012",
            "aaaaaaaaaaaa",
            "abababababab",
            "administrator",
            "correcthorsebatterystaple",
        ];
        for password in weak {
            assert!(weakness(password).is_some(), "{password}");
        }
        for password in [
            "violet-anchor-19",
            "tr0ub4dor&3xyz",
            "äöüß-kräftig-99",
            "changeme or do not",
        ] {
            assert_eq!(weakness(password), None, "{password}");
        }
    }

    proptest! {
        #[test]
        fn junk_is_no_hash_and_causes_no_panic(junk in "(\\$(2b|argon2id)\\$)?\\PC{0,80}") {
            prop_assert!(!is_known_hash(&junk));
        }
    }
}
