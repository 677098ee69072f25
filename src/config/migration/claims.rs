//! What the OIDC issuer says of the people who may come in. Patterns and pairs mean nearly the same
//! in both programs, and what does not is refused: to guess would lock people out, or let others in.

use super::asked::{Asked, Stated};
use super::{Draft, Value, plain};
use crate::config::ConfigError;

pub(super) const RULES: &[&str] = &[
    "oidc-allowed-users",
    "oidc-allowed-users-glob",
    "oidc-allowed-attributes",
    "oidc-allowed-attributes-glob",
];

/// Patterns that leave nobody out.
const EVERYBODY: &[&str] = &["*", "**", "*@*"];

const VERIFIED: &str = "e-mail addresses from the OIDC issuer count only if it says that they are \
                        verified; see docs/sign-in.md for issuers that do not";

/// The rules; whether there are any.
pub(super) fn carry(draft: &mut Draft<'_>) -> Result<bool, ConfigError> {
    let asked = draft.asked;
    let Said { globs, claims } = said(asked)?;
    draft.done.extend(RULES);
    if globs.iter().any(|glob| EVERYBODY.contains(&glob.as_str())) {
        draft.note("a pattern lets everybody in, so that the other rules of --oidc-… are left out");
        return Ok(false);
    }
    if asked.text("oidc-user-id-field") == "/email" {
        draft.note(VERIFIED);
    }
    draft.keep("oidc-allowed-users")?;
    let is_restricted =
        asked.get("oidc-allowed-users").is_some() || !globs.is_empty() || !claims.is_empty();
    for (name, elements) in [
        ("oidc-allowed-users-glob", globs),
        ("oidc-allowed-claims", claims),
    ] {
        if !elements.is_empty() {
            draft.set(name, Value::List(elements));
        }
    }
    Ok(is_restricted)
}

/// Patterns of people's names, and claims that let in.
#[derive(Default)]
struct Said {
    globs: Vec<String>,
    claims: Vec<String>,
}

fn said(asked: &Asked) -> Result<Said, ConfigError> {
    let mut said = Said::default();
    if let Some(stated) = asked.get("oidc-allowed-users-glob") {
        for pattern in elements(stated)? {
            said.globs.push(glob(stated, pattern)?);
        }
    }
    if let Some(stated) = asked.get("oidc-allowed-attributes") {
        for (pointer, value) in pairs(stated)? {
            said.claims.push(claim(stated, &pointer, &value)?);
        }
    }
    let Some(stated) = asked.get("oidc-allowed-attributes-glob") else {
        return Ok(said);
    };
    for (pointer, pattern) in pairs(stated)? {
        if !pattern.contains(|letter| matches!(letter, '*' | '?') || is_unknown(letter)) {
            said.claims.push(claim(stated, &pointer, &pattern)?);
        } else if pointer == asked.text("oidc-user-id-field") {
            said.globs.push(glob(stated, pattern)?);
        } else {
            return Err(stated.refuse(
                "has a pattern of a claim that does not name people, and there are none here",
                "name each value in --oidc-allowed-attributes, and migrate that",
            ));
        }
    }
    Ok(said)
}

fn glob(stated: &Stated, pattern: String) -> Result<String, ConfigError> {
    if pattern.contains(is_unknown) {
        return Err(stated.refuse(
            "has a pattern that the guard does not know",
            "write it with `*` and `?` alone; alternatives are a pattern each",
        ));
    }
    Ok(pattern)
}

/// What a pattern there may mean by a letter, besides what it means here.
fn is_unknown(letter: char) -> bool {
    matches!(letter, '[' | ']' | '{' | '}' | '\\')
}

/// `/groups=admin`: the first `=` divides.
fn pairs(stated: &Stated) -> Result<Vec<(String, String)>, ConfigError> {
    let pair = |element: &String| {
        let (pointer, value) = element.split_once('=')?;
        let (pointer, value) = (pointer.trim(), value.trim());
        let is_whole = pointer.starts_with('/') && !value.is_empty();
        is_whole.then(|| (pointer.to_owned(), value.to_owned()))
    };
    // An element that is no pair has no effect there, and without others everybody comes in.
    elements(stated)?
        .iter()
        .map(|element| {
            pair(element).ok_or_else(|| {
                stated.refuse(
                    "has an element that is no pair",
                    "write it like `/groups=admin`",
                )
            })
        })
        .collect()
}

/// As `--oidc-allowed-claims` takes it, where `+/` joins claims and `~` escapes.
fn claim(stated: &Stated, pointer: &str, value: &str) -> Result<String, ConfigError> {
    if pointer.contains("+/") {
        return Err(stated.refuse("names a claim with `+/` in it", "the guard cannot"));
    }
    let value = value.replace('~', "~0").replace("+/", "+~1");
    Ok(format!("{pointer}={value}"))
}

/// The elements of a list in which a backslash keeps a comma from dividing. Here nothing does.
pub(super) fn elements(stated: &Stated) -> Result<Vec<String>, ConfigError> {
    if plain(stated)?.contains("\\,") {
        return Err(stated.refuse(
            "has an element with a comma in it",
            "a comma always divides here; leave that element out",
        ));
    }
    super::list(stated)
}
