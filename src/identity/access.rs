//! Who may come in: the rules of each provider, pure. Nobody is let in unless a rule says so
//! (threat cases A-058 … ).

/// Why somebody is not let in, for the person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who they are signed in as: login or e-mail address.
    pub who: String,
    /// What is missing, a sentence without its full stop and capital.
    pub missing: String,
}

/// Who may come in with an account at GitHub. Any one rule suffices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitHubRules {
    /// `--allow-any-user` while there is no other rule.
    pub anybody: bool,
    /// Logins, in lower case.
    pub users: Vec<String>,
    pub orgs: Vec<OrgRule>,
}

/// `org` or `org:team`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgRule {
    pub org: String,
    pub team: Option<String>,
}

/// Who may come in with an account at an OIDC issuer, Google included. Any one rule suffices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcRules {
    /// `--allow-any-user` while there is no other rule.
    pub anybody: bool,
    /// JSON pointer to the claim that users and globs are compared with.
    pub user_id_field: String,
    /// Compared whole; e-mail addresses without regard to case.
    pub users: Vec<String>,
    /// `*` does not cross `@`.
    pub user_globs: Vec<String>,
    /// `--google-allowed-workspaces`: values of the `hd` claim.
    pub workspaces: Vec<String>,
    /// Each is a conjunction.
    pub claims: Vec<Vec<ClaimRule>>,
}

/// `/groups=admin`: the claim is this string, or an array that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    pub pointer: String,
    pub value: String,
}
