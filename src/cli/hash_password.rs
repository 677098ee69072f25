//! `hash-password`: a password from standard input, its Argon2 hash to standard output. On a
//! terminal it asks twice and shows nothing of what is typed.

use std::io::{self, BufRead, IsTerminal as _, Read as _, StdinLock};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret, SecretString};

use super::{FAILED, complain, say, tell, warn};
use crate::identity::local;

/// Sign-in takes no longer password.
const LONGEST: u64 = 1024;

pub(super) fn run() -> ExitCode {
    let password = match ask() {
        Ok(password) => password,
        Err(error) => return unusable(&error.to_string()),
    };
    let password: &str = password.expose_secret();
    if let Some(weakness) = local::weakness(password) {
        // A hash does not show it, so the start cannot refuse it.
        warn(&[format!("this password is easy to guess: {weakness}")]);
    }
    match local::hash_password(password) {
        Ok(hash) => {
            say(&format_args!("{hash}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => unusable(&error),
    }
}

fn unusable(why: &str) -> ExitCode {
    let hint = "type a password, or pipe one line in: `mcp-guard hash-password < FILE`";
    complain(&why, &[], Some(hint));
    ExitCode::from(FAILED)
}

fn ask() -> io::Result<SecretString> {
    let mut input = io::stdin().lock();
    if !input.is_terminal() {
        return line(&mut input);
    }
    let _silence = Silence::begin()?;
    let first = prompted(&mut input, "Password: ")?;
    let second = prompted(&mut input, "Once more: ")?;
    if first.expose_secret() != second.expose_secret() {
        return Err(io::Error::other("the two passwords differ"));
    }
    Ok(first)
}

fn prompted(input: &mut StdinLock<'_>, prompt: &str) -> io::Result<SecretString> {
    tell(prompt);
    let answer = line(input);
    tell("\n");
    answer
}

/// One line, without its end.
fn line(input: &mut impl BufRead) -> io::Result<SecretString> {
    // Room for the longest at once, so that no copy stays behind where a growing buffer was.
    let mut text = String::with_capacity(usize::try_from(LONGEST).unwrap_or_default() + 3);
    input.take(LONGEST + 3).read_line(&mut text)?;
    let password = SecretString::from(text.trim_end_matches(['\r', '\n']));
    zeroize::Zeroize::zeroize(&mut text);
    match password.expose_secret().len() as u64 {
        0 => Err(io::Error::other("there is no password")),
        length if length > LONGEST => Err(io::Error::other("the password exceeds 1024 bytes")),
        _ => Ok(password),
    }
}

/// While it lives, the terminal does not echo.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // The terminal is gone if this fails, and its echo with it.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        line(&mut text.as_bytes())
            .map(|password| password.expose_secret().to_owned())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn one_line_is_the_password() {
        assert_eq!(read("correct horse\n").unwrap(), "correct horse");
        assert_eq!(read(" spaced \r\nmore\n").unwrap(), " spaced ");
        assert_eq!(read("no end").unwrap(), "no end");
    }

    #[test]
    fn nothing_and_too_much_are_no_passwords() {
        assert!(read("").is_err());
        assert!(read("\n").is_err());
        assert!(read(&"a".repeat(1024)).is_ok());
        assert!(read(&"a".repeat(1025)).is_err());
        assert!(read(&"a".repeat(5000)).is_err());
    }
}
