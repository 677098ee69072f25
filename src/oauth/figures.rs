//! What the authorization server counts. Never who, and never for whom.

use super::error::ErrorCode;
use crate::identity::ProviderKind;
use crate::telemetry::metrics::{Counter, Counts, Label};

/// What a sign-in came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignIn {
    Ok,
    /// A wrong password, too many of them, or an account that is not let in.
    Refused,
    /// The identity provider cannot be reached, or its answer is of no use.
    Failed,
}

impl Label for SignIn {
    const NAME: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Ok, Self::Refused, Self::Failed];

    fn value(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The two grants there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
}

impl Label for GrantType {
    const NAME: &'static str = "grant_type";
    const ALL: &'static [Self] = &[Self::AuthorizationCode, Self::RefreshToken];

    fn value(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// Those that the token endpoint says.
impl Label for ErrorCode {
    const NAME: &'static str = "error";
    const ALL: &'static [Self] = &[
        Self::InvalidClient,
        Self::InvalidGrant,
        Self::InvalidRequest,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::TemporarilyUnavailable,
        Self::UnsupportedGrantType,
    ];

    fn value(self) -> &'static str {
        self.as_str()
    }
}

/// What the authorization server has to tell of itself.
#[derive(Debug, Default)]
pub struct Figures {
    local: Counts<SignIn>,
    github: Counts<SignIn>,
    google: Counts<SignIn>,
    oidc: Counts<SignIn>,
    /// Pairs of tokens, by what they were given for.
    pub tokens: Counts<GrantType>,
    /// Refusals of the token endpoint.
    pub token_errors: Counts<ErrorCode>,
    /// Passwords that were not looked at, because of those before.
    pub(super) braked: Counter,
}

impl Figures {
    /// Sign-ins, by where: `None` is here, with a password.
    pub(super) const fn sign_ins_at(&self, provider: Option<ProviderKind>) -> &Counts<SignIn> {
        match provider {
            None => &self.local,
            Some(ProviderKind::GitHub) => &self.github,
            Some(ProviderKind::Google) => &self.google,
            Some(ProviderKind::Oidc) => &self.oidc,
        }
    }

    /// Sign-ins, each with the name of where.
    pub fn sign_ins(&self) -> [(&'static str, &Counts<SignIn>); 4] {
        let at = |kind: ProviderKind| (kind.name(), self.sign_ins_at(Some(kind)));
        [
            ("local", &self.local),
            at(ProviderKind::GitHub),
            at(ProviderKind::Google),
            at(ProviderKind::Oidc),
        ]
    }
}
