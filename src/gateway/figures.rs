//! What the gateway counts.

use crate::telemetry::metrics::{Counts, Label};
use crate::upstream::http::Trouble;
use crate::upstream::{ChildFigures, JoinError};

/// Why the wrapped server gave no answer. What it answered itself is none, its own errors included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A URL that takes no connection.
    Unreachable,
    /// An answer that broke off or cannot be understood.
    Broken,
    /// No answer in time.
    Slow,
    /// A redirect that the guard does not follow.
    Redirect,
    /// A process that could not be started, or ended before it answered.
    NotStarted,
    /// A limit on processes is reached.
    NoRoom,
    /// No start for a while after crashes.
    BackingOff,
}

impl Label for Failure {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::Unreachable,
        Self::Broken,
        Self::Slow,
        Self::Redirect,
        Self::NotStarted,
        Self::NoRoom,
        Self::BackingOff,
    ];

    fn value(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Slow => "slow",
            Self::Redirect => "redirect",
            Self::NotStarted => "not_started",
            Self::NoRoom => "no_room",
            Self::BackingOff => "backing_off",
        }
    }
}

impl Failure {
    /// `None`: the client's fault.
    pub(super) const fn of_url(trouble: &Trouble) -> Option<Self> {
        match trouble {
            Trouble::Unreachable(_) => Some(Self::Unreachable),
            Trouble::Broken(_) => Some(Self::Broken),
            Trouble::Slow(_) => Some(Self::Slow),
            Trouble::TooLarge { .. } | Trouble::ClientSlow | Trouble::ClientBroken => None,
        }
    }

    /// `None`: the guard itself stops.
    pub(super) const fn of_start(error: &JoinError) -> Option<Self> {
        match error {
            JoinError::Spawn(_) => Some(Self::NotStarted),
            JoinError::Full => Some(Self::NoRoom),
            JoinError::BackingOff(_) => Some(Self::BackingOff),
            JoinError::Stopping => None,
        }
    }
}

/// What a gateway has to tell of itself.
pub struct Figures<'g> {
    /// Requests of users who had asked too often.
    pub limited: u64,
    pub failures: &'g Counts<Failure>,
    /// Only where the guard itself has sessions: in front of a command.
    pub sessions: Option<usize>,
    /// Only in front of a command.
    pub children: Option<ChildFigures>,
}
