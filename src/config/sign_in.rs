//! Who may sign in. There is always somebody, and never by a password that is easy to guess.

use std::path::Path;

use secrecy::ExposeSecret;

use super::{ConfigError, RawConfig};
use crate::http::ExternalUrl;
use crate::identity::local::{self, LocalUser, PasswordSecret};

/// The one user of `--password` and `--password-hash`.
const OWNER: &str = "owner";

/// All local users.
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
    if users.is_empty() {
        return Err(ConfigError::refused("nobody may sign in").hint(
            "give --password-file FILE (or MCP_GUARD_PASSWORD, --password-hash, --users-file)",
        ));
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
    if !external_url.is_loopback() {
        if let Some(weakness) = local::weakness(password.expose_secret()) {
            return Err(setting.refuse(
                format_args!("is too weak for {}: {weakness}", external_url.host()),
                "use 12 characters or more that nobody would guess, several words for example",
            ));
        }
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

fn from_file(raw: &RawConfig) -> Result<Vec<LocalUser>, ConfigError> {
    let Some(setting) = raw.setting("users-file") else {
        return Ok(Vec::new());
    };
    let path = Path::new(setting.text());
    let file = raw.surroundings().read(path).map_err(|error| {
        setting.refuse(
            format_args!("cannot be read from {}: {error}", path.display()),
            "give the path of a text file with `name:hash` lines",
        )
    })?;
    local::parse_users_file(&file.text).map_err(|error| {
        setting.refuse(
            format_args!("has a fault: {}: {error}", path.display()),
            "write one `name:hash` a line; `mcp-guard hash-password` makes the hash",
        )
    })
}
