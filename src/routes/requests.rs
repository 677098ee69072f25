//! Requests that were answered, by what they asked for and how it went.

use hyper::StatusCode;

use super::Route;
use crate::telemetry::metrics::{Counts, Label};

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// The wrapped server.
    Mcp,
    /// Documents, clients, sign-ins, tokens.
    Oauth,
    Other,
}

impl Class {
    pub(super) const fn of(route: Option<Route>) -> Self {
        match route {
            Some(Route::Server(_) | Route::Mirrored) => Self::Mcp,
            Some(Route::Oauth(_) | Route::ResourceMetadata(_) | Route::Jwks) => Self::Oauth,
            Some(Route::Landing | Route::Live | Route::Ready) | None => Self::Other,
        }
    }
}

/// The first digit of a status (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl Label for StatusClass {
    const NAME: &'static str = "status";
    const ALL: &'static [Self] = &[
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    fn value(self) -> &'static str {
        match self {
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
        }
    }
}

impl StatusClass {
    /// A wrapped server may answer with what is no class of HTTP's; that is its error.
    const fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// Requests that were answered. One whose client left before is none.
#[derive(Debug, Default)]
pub struct Requests {
    mcp: Counts<StatusClass>,
    oauth: Counts<StatusClass>,
    other: Counts<StatusClass>,
}

impl Requests {
    pub(super) fn count(&self, class: Class, status: StatusCode) {
        let counts = match class {
            Class::Mcp => &self.mcp,
            Class::Oauth => &self.oauth,
            Class::Other => &self.other,
        };
        counts.count(StatusClass::of(status));
    }

    /// By what they asked for.
    pub const fn by_class(&self) -> [(&'static str, &Counts<StatusClass>); 3] {
        [
            ("mcp", &self.mcp),
            ("oauth", &self.oauth),
            ("other", &self.other),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway;

    #[test]
    fn a_request_counts_for_what_it_asked_for_and_how_it_went() {
        let requests = Requests::default();
        let mcp = Class::of(Some(Route::Server(gateway::Endpoint::Mcp)));
        let unknown = Class::of(None);
        for (class, status) in [(mcp, 200), (mcp, 202), (mcp, 799), (unknown, 404)] {
            requests.count(class, StatusCode::from_u16(status).unwrap());
        }
        let totals = requests.by_class().map(|(_, counts)| {
            let totals = counts.totals().map(|(_, total)| total);
            totals.collect::<Vec<_>>()
        });
        assert_eq!(totals, [[2, 0, 0, 1], [0; 4], [0, 0, 1, 0]]);
    }
}
