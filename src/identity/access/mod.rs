//! Who may come in: the rules of each provider, pure. Nobody is let in unless a rule says so
//! (threat cases A-058 … ).
//!
//! What is written as text in a setting is parsed here, so that a rule that exists is one that can
//! be kept. What a rule asks for and a person's identity does not hold counts as not held.

mod claim;
mod github;
mod oidc;
mod user_id;

pub use claim::ClaimRule;
pub(super) use github::PINNED_LOGIN;
pub use github::{GitHubRules, OrgRule};
pub use oidc::OidcRules;
pub use user_id::{UserGlob, UserId, Workspace};

/// Why somebody is not let in, for the person to read. Organisations, workspaces and names of
/// claims are named, since the person must know whom to ask; other people are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who they are signed in as: login or e-mail address.
    pub who: String,
    /// What is missing, a sentence without its full stop and capital.
    pub missing: String,
}

/// The words for somebody whom a list of users does not name.
const NOT_LISTED: &str = "your account is not on the list of allowed users";

/// A JSON pointer (RFC 6901) to something within a document, or what to write instead.
pub fn pointer(text: &str) -> Result<String, String> {
    let mut escapes = text.split('~').skip(1);
    if !text.starts_with('/') || text.len() == 1 {
        return Err(format!(
            "{text:?} is no JSON pointer; write `/email`, or `/realm_access/roles` for a claim in a claim"
        ));
    }
    if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err(format!(
            "in {text:?}, write `~0` for a `~` and `~1` for a `/`"
        ));
    }
    Ok(text.to_owned())
}
