//! Local users: `--password`, `--password-hash`, `--users-file` (threat cases ).

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::Identity;

/// One local user.
#[derive(Clone)]
pub struct LocalUser {
    pub name: String,
    pub secret: PasswordSecret,
}

/// What a password is checked against.
#[derive(Clone)]
pub enum PasswordSecret {
    /// `--password`: the password itself, compared in constant time.
    Plain(SecretString),
    /// A PHC string (`$argon2id$…`) or a bcrypt hash (`$2b$…`), already known to parse.
    Hash(String),
}

/// All local users, with the brakes on guessing.
pub struct LocalUsers {}

/// The outcome of a sign-in attempt that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Name or password is wrong; which, is not said.
    WrongCredentials,
    /// Too many attempts; try again after this long.
    Later(Duration),
}

impl LocalUsers {
    /// `users` may be empty: then there is no local sign-in.
    pub fn new(users: Vec<LocalUser>) -> Self {
        let _ = users;
        todo!()
    }

    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Whether the sign-in form must ask for a name: not when there is one user only.
    pub fn asks_for_name(&self) -> bool {
        todo!()
    }

    /// Checks a name and password. `name` is ignored where [`Self::asks_for_name`] is false.
    pub async fn sign_in(
        &self,
        name: &str,
        password: SecretString,
        from: IpAddr,
    ) -> Result<Identity, Refused> {
        let _ = (name, password, from);
        todo!()
    }
}

/// An Argon2id PHC string for a password (`mcp-guard hash-password`).
pub fn hash_password(password: &str) -> Result<String, String> {
    let _ = password;
    todo!()
}

/// Whether a text is a hash that [`LocalUsers`] can check: Argon2 PHC or bcrypt.
pub fn is_known_hash(text: &str) -> bool {
    let _ = text;
    todo!()
}
