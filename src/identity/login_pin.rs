//! A GitHub login in an allow-list belongs to the account that used it first (threat case A-062).
//! Whoever takes a login over that somebody gave up is another person, and stays out.
//!
//! The first use writes the account's number under the login, for good; the login has to be taken
//! off the list, or the account has to get it back, for things to change.

use crate::store::{Store, StoreError};

/// Whether `login` at `host` is the account `id`'s; it is from now on if it was nobody's.
/// Asked only for logins that a list names, so that strangers fill no store.
pub(super) async fn is_its_own(
    store: &Store,
    host: &str,
    login: &str,
    id: u64,
) -> Result<bool, StoreError> {
    let login = login.to_ascii_lowercase();
    let key = format!("pin/github/{host}/{login}");
    let account = id.to_string();
    if store
        .create(&key, account.clone().into_bytes(), None)
        .await?
        .is_some()
    {
        tracing::info!(
            event = "login_pinned",
            host,
            login,
            account = id,
            "a login of the list of allowed users is this account's from now on"
        );
        return Ok(true);
    }
    let owner = store.get(&key).await?.map(|record| record.value);
    let owner = owner.unwrap_or_default();
    let is_its_own = owner == account.as_bytes();
    if !is_its_own {
        tracing::warn!(event = "login_reused", host, login, account = id,
            pinned = %String::from_utf8_lossy(&owner),
            "a login of the list of allowed users now names another account, which stays out");
    }
    Ok(is_its_own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn a062_a_login_is_the_account_s_that_used_it_first() {
        let store = Store::memory(Clock::system());
        let ask = async |host, login, id| is_its_own(&store, host, login, id).await.unwrap();
        assert!(ask("github.com", "Alice", 1).await);
        assert!(ask("github.com", "alice", 1).await);
        assert!(!ask("github.com", "ALICE", 2).await);
        assert!(!ask("github.com", "alice", 11).await);
        assert!(ask("github.com", "bob", 2).await);
        // Accounts of another server are numbered anew.
        assert!(ask("ghe.test", "alice", 2).await);
        assert!(ask("github.com", "alice", 1).await);
    }

    #[tokio::test]
    async fn a_pin_never_expires_and_needs_a_store_that_works() {
        let clock = Clock::system();
        let store = Store::memory(clock.clone());
        assert!(is_its_own(&store, "github.com", "alice", 1).await.unwrap());
        clock.advance(std::time::Duration::from_hours(24 * 3650));
        store.sweep().await.unwrap();
        assert!(!is_its_own(&store, "github.com", "alice", 2).await.unwrap());
        store.close().await;
        assert!(is_its_own(&store, "github.com", "alice", 1).await.is_err());
    }
}
