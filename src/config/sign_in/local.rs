//! Local users, and never one whose password is easy to guess.

use std::path::Path;

use secrecy::ExposeSecret;

use crate::config::surroundings::FileText;
use crate::config::{ConfigError, RawConfig, Setting};
use crate::http::ExternalUrl;
use crate::identity::local::{self, LocalUser, OWNER, PasswordSecret};

/// All local users; perhaps none.
pub(super) fn users(
    raw: &RawConfig,
    external_url: &ExternalUrl,
) -> Result<Vec<LocalUser>, ConfigError> {
    let mut users = from_file(raw)?;
    if let Some(owner) = owner(raw, external_url)? {
        if users.iter().any(|user| user.name == OWNER) {
            return Err(ConfigError::refused(format!(
                "the users file has a user `{OWNER}`, who is also the user of the password option"
            ))
            .hint("keep one of the two"));
        }
        users.insert(0, owner);
    }
    Ok(users)
}

fn owner(raw: &RawConfig, external_url: &ExternalUrl) -> Result<Option<LocalUser>, ConfigError> {
    let secret = match (raw.secret("password"), raw.secret("password-hash")) {
        (None, None) => return Ok(None),
        (Some((password, _)), Some((hash, _))) => {
            return Err(
                ConfigError::refused(format!("both {password} and {hash} are given"))
                    .hint("keep one of the two"),
            );
        }
        (Some(_), None) => password(raw, external_url)?,
        (None, Some(_)) => password_hash(raw)?,
    };
    Ok(secret.map(|secret| LocalUser {
        name: OWNER.to_owned(),
        secret,
    }))
}

/// Whoever finds a public sign-in page will guess.
fn password(
    raw: &RawConfig,
    external_url: &ExternalUrl,
) -> Result<Option<PasswordSecret>, ConfigError> {
    let Some((setting, password)) = raw.secret("password") else {
        return Ok(None);
    };
    if !external_url.is_loopback()
        && let Some(weakness) = local::weakness(password.expose_secret())
    {
        return Err(setting.refuse(
            format_args!("is too weak for {}: {weakness}", external_url.host()),
            "use 12 characters or more that nobody would guess, several words for example",
        ));
    }
    Ok(Some(PasswordSecret::Plain(password.clone())))
}

fn password_hash(raw: &RawConfig) -> Result<Option<PasswordSecret>, ConfigError> {
    let Some((setting, hash)) = raw.secret("password-hash") else {
        return Ok(None);
    };
    let hash: &str = hash.expose_secret();
    if !local::is_known_hash(hash) {
        return Err(setting.refuse(
            "is no Argon2 or bcrypt hash",
            "make one with `mcp-guard hash-password`; in a shell, put it in single quotes",
        ));
    }
    Ok(Some(PasswordSecret::Hash(hash.to_owned())))
}

/// Hashes are for guessing at, by whoever can read them.
pub(super) fn warning(raw: &RawConfig) -> Option<String> {
    let setting = raw.setting("users-file")?;
    read(raw, setting).ok()?.warning(Path::new(setting.text()))
}

fn from_file(raw: &RawConfig) -> Result<Vec<LocalUser>, ConfigError> {
    let Some(setting) = raw.setting("users-file") else {
        return Ok(Vec::new());
    };
    let path = Path::new(setting.text());
    let file = read(raw, setting)?;
    local::parse_users_file(&file.text).map_err(|error| {
        setting.refuse(
            format_args!("has a fault: {}: {error}", path.display()),
            "write one `name:hash` a line; `mcp-guard hash-password` makes the hash",
        )
    })
}

fn read(raw: &RawConfig, setting: &Setting) -> Result<FileText, ConfigError> {
    let path = Path::new(setting.text());
    raw.surroundings().read(path).map_err(|error| {
        setting.refuse(
            format_args!("cannot be read from {}: {error}", path.display()),
            "give the path of a text file with `name:hash` lines",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Invocation, Surroundings, from_args};

    /// Made by hand: 19 MiB, two passes.
    const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
                        MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";

    fn sign_in(url: &str, arguments: &[&str]) -> Result<Vec<LocalUser>, ConfigError> {
        let users: &str = format!("alice:{HASH}\nbob:{HASH}\n").leak();
        let owners: &str = format!("owner:{HASH}").leak();
        let files = [("users", users), ("owners", owners), ("bad", "x")];
        let surroundings = Surroundings::fake(&[], &files);
        let arguments = arguments.iter().map(Into::into);
        let Invocation::Serve(raw) = from_args(arguments, surroundings)? else {
            panic!("not to serve");
        };
        super::users(&raw, &ExternalUrl::parse(url).unwrap())
    }

    fn names(arguments: &[&str]) -> Vec<String> {
        let users = sign_in("https://mcp.example.com", arguments).unwrap();
        users.into_iter().map(|user| user.name).collect()
    }

    fn refused(url: &str, arguments: &[&str]) -> String {
        let Err(error) = sign_in(url, arguments) else {
            panic!("not refused: {arguments:?}");
        };
        assert_eq!(error.exit_code(), 78);
        assert!(error.hint_text().is_some());
        assert!(!error.hint_text().unwrap().contains("canary"));
        error.to_string()
    }

    #[test]
    fn local_users_come_from_the_password_the_hash_and_the_file() {
        assert_eq!(names(&["--password", "correct horse battery"]), ["owner"]);
        assert_eq!(names(&["--password-hash", HASH]), ["owner"]);
        assert_eq!(names(&["--users-file", "users"]), ["alice", "bob"]);
        let both = ["--users-file", "users", "--password-hash", HASH];
        assert_eq!(names(&both), ["owner", "alice", "bob"]);
    }

    #[test]
    fn a160_a_weak_password_is_refused_unless_loopback() {
        for weak in ["canary", "canary12345", "changeme2026"] {
            let said = refused("https://mcp.example.com", &["--password", weak]);
            assert!(
                said.starts_with("--password is too weak for mcp.example.com"),
                "{said}"
            );
            assert!(!said.contains(weak), "{said}");
            for url in [
                "http://localhost:8080",
                "http://127.0.0.1:1",
                "http://[::1]:1",
            ] {
                assert!(sign_in(url, &["--password", weak]).is_ok(), "{url}");
            }
        }
    }

    #[test]
    fn a162_a_users_file_that_others_may_read_is_worth_a_warning() {
        let files = [("users", "alice:x"), ("users.open", "alice:x")];
        let warned = |path: &str| {
            let arguments = ["--users-file", path].into_iter().map(Into::into);
            let invocation = from_args(arguments, Surroundings::fake(&[], &files));
            let Ok(Invocation::Serve(raw)) = invocation else {
                panic!("not to serve");
            };
            warning(&raw)
        };
        assert_eq!(warned("users"), None);
        assert!(warned("users.open").unwrap().contains("`chmod 600`"));
    }

    #[test]
    fn two_owners_are_refused() {
        let url = "http://localhost:8080";
        let both = ["--password", "canary", "--password-hash", HASH];
        assert_eq!(
            refused(url, &both),
            "both --password and --password-hash are given"
        );
        let said = refused(url, &["--password", "canary", "--users-file", "owners"]);
        assert!(said.contains("`owner`"), "{said}");
    }

    #[test]
    fn hashes_and_files_that_cannot_be_used_are_refused() {
        let url = "http://localhost:8080";
        let said = refused(url, &["--password-hash", "canary"]);
        assert_eq!(said, "--password-hash is no Argon2 or bcrypt hash");
        assert!(
            refused(url, &["--users-file", "bad"]).starts_with("--users-file has a fault: bad")
        );
        assert!(refused(url, &["--users-file", "gone"]).contains("cannot be read"));
    }
}
