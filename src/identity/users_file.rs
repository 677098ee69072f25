//! `--users-file`: one `name:hash` per line, the shape of htpasswd. Blank lines and lines that start
//! with `#` are skipped.

use super::local::{LocalUser, PasswordSecret};
use super::password::is_known_hash;

const MAX_NAME_LENGTH: usize = 64;

/// What is wrong with a users file. Never quotes a hash.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersFileError {
    #[error("line {line}: expected name:hash")]
    Shape { line: usize },
    #[error(
        "line {line}: a name is 1 to {MAX_NAME_LENGTH} visible ASCII characters without a colon"
    )]
    Name { line: usize },
    #[error("line {line}: {name} is there already")]
    Duplicate { line: usize, name: String },
    #[error(
        "line {line}: the hash of {name} is neither Argon2 nor bcrypt, or too costly; \
         `mcp-guard hash-password` makes one"
    )]
    Hash { line: usize, name: String },
}

/// The users of a users file.
pub fn parse_users_file(text: &str) -> Result<Vec<LocalUser>, UsersFileError> {
    let mut users: Vec<LocalUser> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (line, entry) in (1..).zip(text.lines().map(str::trim)) {
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let user = parse_entry(entry, line)?;
        if users.iter().any(|other| other.name == user.name) {
            return Err(UsersFileError::Duplicate {
                line,
                name: user.name,
            });
        }
        users.push(user);
    }
    Ok(users)
}

fn parse_entry(entry: &str, line: usize) -> Result<LocalUser, UsersFileError> {
    let (name, hash) = entry
        .split_once(':')
        .ok_or(UsersFileError::Shape { line })?;
    // ASCII: names go into headers, and look-alikes must not pass for each other.
    let visible = name.bytes().all(|byte| byte.is_ascii_graphic());
    if name.is_empty() || name.len() > MAX_NAME_LENGTH || !visible {
        return Err(UsersFileError::Name { line });
    }
    if !is_known_hash(hash) {
        return Err(UsersFileError::Hash {
            line,
            name: name.to_owned(),
        });
    }
    Ok(LocalUser {
        name: name.to_owned(),
        secret: PasswordSecret::Hash(hash.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "$2y$12$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";

    fn names(text: &str) -> Vec<String> {
        parse_users_file(text)
            .unwrap()
            .into_iter()
            .map(|user| user.name)
            .collect()
    }

    fn error(text: &str) -> UsersFileError {
        parse_users_file(text).err().unwrap()
    }

    #[test]
    fn users_are_read_around_comments_and_blank_lines() {
        let text =
            format!("\u{feff}# people\r\nalice:{HASH}\r\n\r\n  bob@example.org:{HASH}  \n#end");
        assert_eq!(names(&text), ["alice", "bob@example.org"]);
        assert_eq!(names(""), [""; 0]);
    }

    #[test]
    fn every_error_names_its_line() {
        assert_eq!(error("# x\n\nalice"), UsersFileError::Shape { line: 3 });
        for name in [
            "",
            "two words",
            "zero\u{200b}width",
            "tab\tname",
            &"x".repeat(65),
        ] {
            assert_eq!(
                error(&format!("{name}:{HASH}")),
                UsersFileError::Name { line: 1 }
            );
        }
        let twice = error(&format!("a:{HASH}\nb:{HASH}\na:{HASH}"));
        assert_eq!(
            twice,
            UsersFileError::Duplicate {
                line: 3,
                name: "a".into()
            }
        );
    }

    #[test]
    fn a154_a_password_in_place_of_a_hash_is_refused_and_not_quoted() {
        let error = error("alice:hunter2hunter2");
        assert_eq!(
            error,
            UsersFileError::Hash {
                line: 1,
                name: "alice".into()
            }
        );
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "([a-z:#\\$\n ]|\\PC){0,60}") {
            if let Ok(users) = parse_users_file(&text) {
                prop_assert!(users.iter().all(|user| !user.name.is_empty()));
            }
        }
    }
}
