//! The scopes there are: `mcp`, which is everything the guarded server offers, and
//! `offline_access`, which clients ask for when they want to stay connected.

use crate::grant::Scopes;

/// All of the guarded server.
pub(super) const MCP: &str = "mcp";
/// `OpenID` Connect Core §11; known so that clients that insist on it find it in the metadata.
pub(super) const OFFLINE_ACCESS: &str = "offline_access";

/// What is granted for what was asked: unknown scopes are dropped, not refused, since real
/// clients ask for `openid email profile` of any server, and `mcp` is always there, since a grant
/// without it would be good for nothing. The answer of the token endpoint names the result.
pub(super) fn narrow(requested: Option<&str>) -> Scopes {
    let offline = requested
        .unwrap_or_default()
        .split(' ')
        .any(|scope| scope == OFFLINE_ACCESS);
    if offline {
        Scopes(format!("{MCP} {OFFLINE_ACCESS}"))
    } else {
        Scopes(MCP.to_owned())
    }
}

/// What a scope lets a client do, for the consent page.
pub(super) fn in_words(scopes: &Scopes) -> Vec<&'static str> {
    scopes
        .0
        .split(' ')
        .filter_map(|scope| match scope {
            MCP => Some("Use everything this server offers: its tools, prompts and data"),
            OFFLINE_ACCESS => Some("Stay connected while you are away"),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a052_unknown_scopes_are_dropped() {
        assert_eq!(narrow(Some("admin * openid")), Scopes("mcp".into()));
        assert_eq!(narrow(None), Scopes("mcp".into()));
        assert_eq!(narrow(Some("")), Scopes("mcp".into()));
    }

    #[test]
    fn offline_access_is_kept_if_asked_for() {
        let scopes = narrow(Some("openid offline_access mcp"));
        assert_eq!(scopes, Scopes("mcp offline_access".into()));
        assert_eq!(in_words(&scopes).len(), 2);
    }
}
