//! Registered clients (RFC 7591), as they lie in the store under `client/<id>`.
//!
//! Anybody may register, so a client is cheap until a person approves it: it expires after a day,
//! and it is the first to go when the table is full. The first authorization code issued for it
//! *activates* it: it loses its expiry and stays at least as long as any grant of its own
//! (threat cases ).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::clock::{Clock, Timestamp};
use crate::crypto::TokenHash;
use crate::grant::{ClientId, Grants};
use crate::store::{Record, Store, StoreError};

/// How many clients there may be.
const CAPACITY: usize = 10_000;
/// How long a client lives that nobody approved.
const DORMANT_TTL: Duration = Duration::from_hours(24);
/// An approved client without grants is kept this long: its program still knows the id, and would
/// be met by an error page if it were gone.
const IDLE_TTL: Duration = Duration::from_hours(400 * 24);
/// How many approved clients one sweep looks at when the table is full.
const CROWDED_CHECKS: usize = 256;
/// Records per scan.
const PAGE: usize = 500;

/// How a client proves who it is at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthMethod {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

impl AuthMethod {
    /// The registered name of a method, if it is one that the token endpoint knows.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "client_secret_basic" => Some(Self::ClientSecretBasic),
            "client_secret_post" => Some(Self::ClientSecretPost),
            _ => None,
        }
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) auth_method: AuthMethod,
    /// Present for the two secret methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<TokenHash>,
    pub(super) redirect_uris: Vec<String>,
    /// As registered: clean it before showing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) issued_at: Timestamp,
    /// When a code was last issued for it; absent until a person approved it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approved_at: Option<Timestamp>,
}

/// Why a client could not be added.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddError {
    #[error("every registered client is in use")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All clients.
pub(super) struct Clients {
    store: Store,
    clock: Clock,
    capacity: usize,
    loaded: OnceCell<()>,
    census: Mutex<Census>,
}

/// What is in the table, so that no registration has to count it. Exact for one guard; where
/// several share a store, right again after each sweep.
#[derive(Default)]
struct Census {
    /// Never approved: when they came, and their ids. Oldest first.
    dormant: BTreeSet<(Timestamp, String)>,
    approved: usize,
}

impl Clients {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self::with_capacity(store, clock, CAPACITY)
    }

    fn with_capacity(store: Store, clock: Clock, capacity: usize) -> Self {
        Self {
            store,
            clock,
            capacity,
            loaded: OnceCell::new(),
            census: Mutex::default(),
        }
    }

    /// The client of that id, if there is one.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Client>, StoreError> {
        if !is_client_id(id) {
            return Ok(None);
        }
        let key = key(id);
        match self.store.get(&key).await? {
            Some(record) => parse(&key, &record).map(Some),
            None => Ok(None),
        }
    }

    /// Adds a new client, which lives for a day unless it is approved. Makes room, where there is
    /// none, by dropping the oldest client that never was.
    pub(super) async fn add(&self, client: &Client) -> Result<(), AddError> {
        self.load().await?;
        self.make_room().await?;
        let expiry = client.issued_at.after(DORMANT_TTL);
        let key = key(&client.id.0);
        self.store.put(&key, encode(client), Some(expiry)).await?;
        self.census()
            .dormant
            .insert((client.issued_at, client.id.0.clone()));
        Ok(())
    }

    /// Notes that a code is about to be issued for a client: it now outlives its grants. `false` if
    /// it is gone meanwhile.
    pub(super) async fn approve(&self, id: &ClientId) -> Result<bool, StoreError> {
        let key = key(&id.0);
        let Some(record) = self.store.get(&key).await? else {
            return Ok(false);
        };
        let mut client = parse(&key, &record)?;
        let first = client.approved_at.is_none();
        client.approved_at = Some(self.clock.now());
        let swapped = self
            .store
            .swap(&key, record.version, encode(&client), None)
            .await?;
        if swapped.is_none() {
            // Somebody else approved it at this moment, or it was dropped.
            let current = self.store.get(&key).await?;
            return Ok(current.is_some());
        }
        if first {
            let mut census = self.census();
            if census.dormant.remove(&(client.issued_at, id.0.clone())) {
                census.approved += 1;
            }
        }
        Ok(true)
    }

    /// Counts anew, and forgets approved clients that have no grant and that nobody approved again
    /// for more than a year, or for more than a day when the table is full of such.
    pub(super) async fn sweep(&self, grants: &Grants) -> Result<(), StoreError> {
        let (mut census, mut approved) = self.count().await?;
        approved.sort();
        let now = self.clock.now();
        let checks = if approved.len() < self.capacity {
            0
        } else {
            CROWDED_CHECKS
        };
        for (checked, (since, id)) in approved.into_iter().enumerate() {
            let idle = now.since(since);
            if idle <= IDLE_TTL && (checked >= checks || idle <= DORMANT_TTL) {
                break;
            }
            let id = ClientId(id);
            if !grants.has_grants(&id).await? && self.drop_unless_used(&id.0, Some(since)).await? {
                census.approved -= 1;
            }
        }
        *self.census() = census;
        Ok(())
    }

    /// The first count, made when it is first needed: the guard listens before it.
    async fn load(&self) -> Result<(), StoreError> {
        let count = || async {
            let (census, _) = self.count().await?;
            *self.census() = census;
            Ok(())
        };
        self.loaded.get_or_try_init(count).await.map(|&()| ())
    }

    /// The census, and the approved clients by their last approval.
    async fn count(&self) -> Result<(Census, Vec<(Timestamp, String)>), StoreError> {
        let mut census = Census::default();
        let mut approved = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(PREFIX, after.as_deref(), PAGE).await?;
            after = page.last().map(|(key, _)| key.clone());
            let full = page.len() >= PAGE;
            for (key, record) in page {
                let client = parse(&key, &record)?;
                match client.approved_at {
                    Some(since) => approved.push((since, client.id.0)),
                    None => _ = census.dormant.insert((client.issued_at, client.id.0)),
                }
            }
            if !full {
                census.approved = approved.len();
                return Ok((census, approved));
            }
        }
    }

    /// Drops clients that were never approved, oldest first, until there is room for one more.
    async fn make_room(&self) -> Result<(), AddError> {
        while let Some(id) = self.surplus()? {
            self.drop_unless_used(&id, None).await?;
        }
        Ok(())
    }

    /// The client to drop, if one must go.
    fn surplus(&self) -> Result<Option<String>, AddError> {
        let mut census = self.census();
        if census.dormant.len() + census.approved < self.capacity {
            return Ok(None);
        }
        match census.dormant.pop_first() {
            Some((_, id)) => Ok(Some(id)),
            None => Err(AddError::Full),
        }
    }

    /// Deletes a client in one step with the check that it was not approved since `seen`.
    async fn drop_unless_used(
        &self,
        id: &str,
        seen: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let key = key(id);
        let Some(record) = self.store.get(&key).await? else {
            return Ok(true);
        };
        if parse(&key, &record)?.approved_at != seen {
            return Ok(false);
        }
        // The contract has no conditional delete; a record that has expired does not exist.
        let expired = Some(Timestamp(0));
        let swapped = self
            .store
            .swap(&key, record.version, Vec::new(), expired)
            .await?;
        if swapped.is_some() {
            self.store.delete(&key).await?;
        }
        Ok(swapped.is_some())
    }

    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const PREFIX: &str = "client/";

fn key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// Whether a text has the form of our ids: nothing else may become part of a store key.
fn is_client_id(text: &str) -> bool {
    text.strip_prefix("mcp_").is_some_and(|rest| {
        rest.len() == 22
            && rest
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    })
}

fn encode(client: &Client) -> Vec<u8> {
    // A struct of strings and numbers always serialises.
    serde_json::to_vec(client).unwrap_or_default()
}

fn parse(key: &str, record: &Record) -> Result<Client, StoreError> {
    serde_json::from_slice(&record.value).map_err(|error| StoreError::Damaged {
        key: key.to_owned(),
        what: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{DAY, Running, VERIFIER, guard};
    use super::*;
    use crate::crypto::random;
    use crate::grant::Redemption;

    fn small(running: &Running) -> Clients {
        Clients::with_capacity(running.store.clone(), running.clock.clone(), 3)
    }

    async fn add(clients: &Clients, running: &Running) -> Result<ClientId, AddError> {
        // A moment apart, so that their order is known.
        running.clock.advance(Duration::from_millis(1));
        let client = Client {
            id: ClientId(format!("mcp_{}", random::id())),
            auth_method: AuthMethod::None,
            secret: None,
            redirect_uris: vec!["http://localhost/callback".into()],
            name: None,
            issued_at: running.clock.now(),
            approved_at: None,
        };
        clients.add(&client).await.map(|()| client.id)
    }

    async fn knows(clients: &Clients, id: &ClientId) -> bool {
        clients.find(&id.0).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a008_a_client_that_nobody_approves_is_gone_after_a_day() {
        let running = guard().start();
        let clients = small(&running);
        let id = add(&clients, &running).await.unwrap();
        running.clock.advance(Duration::from_secs(24 * 3600 - 1));
        assert!(knows(&clients, &id).await);
        running.clock.advance(Duration::from_secs(2));
        assert!(!knows(&clients, &id).await);
    }

    #[tokio::test]
    async fn a008_a_full_table_drops_the_oldest_that_was_never_approved() {
        let running = guard().start();
        let clients = small(&running);
        let first = add(&clients, &running).await.unwrap();
        let second = add(&clients, &running).await.unwrap();
        let third = add(&clients, &running).await.unwrap();
        assert!(clients.approve(&first).await.unwrap());
        let fourth = add(&clients, &running).await.unwrap();
        assert!(knows(&clients, &first).await);
        assert!(!knows(&clients, &second).await);
        assert!(knows(&clients, &third).await);
        assert!(knows(&clients, &fourth).await);
        let records = running.store.scan(PREFIX, None, 100).await.unwrap();
        assert_eq!(records.len(), 3);
    }

    #[tokio::test]
    async fn a008_a_table_of_approved_clients_admits_nobody() {
        let running = guard().start();
        let clients = small(&running);
        for _ in 0..3 {
            let id = add(&clients, &running).await.unwrap();
            assert!(clients.approve(&id).await.unwrap());
        }
        assert!(matches!(add(&clients, &running).await, Err(AddError::Full)));
        // Those without a grant make room in the end.
        running.clock.advance(DAY + DAY);
        clients.sweep(&running.grants).await.unwrap();
        assert!(add(&clients, &running).await.is_ok());
    }

    #[tokio::test]
    async fn a008_the_count_survives_a_restart() {
        let running = guard().start();
        let clients = small(&running);
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(add(&clients, &running).await.unwrap());
        }
        let restarted = small(&running);
        add(&restarted, &running).await.unwrap();
        assert!(!knows(&restarted, &ids[0]).await);
        assert!(knows(&restarted, &ids[1]).await);
    }

    #[tokio::test]
    async fn a008_clients_that_expired_do_not_count() {
        let running = guard().start();
        let clients = small(&running);
        for _ in 0..3 {
            add(&clients, &running).await.unwrap();
        }
        running.clock.advance(DAY + DAY);
        let kept = add(&clients, &running).await.unwrap();
        clients.sweep(&running.grants).await.unwrap();
        add(&clients, &running).await.unwrap();
        add(&clients, &running).await.unwrap();
        assert!(knows(&clients, &kept).await);
    }

    #[tokio::test]
    async fn a019_a_client_in_use_is_never_dropped() {
        let running = guard().start();
        let client = running.client(&["http://localhost/callback"]).await;
        let page = running.authorize(&client, &[]).await.page();
        let code = page.allow(&running).await.sent("code").unwrap();
        let id = ClientId(client.clone());
        let redemption = Redemption {
            code: &code,
            client: &id,
            redirect_uri: None,
            code_verifier: Some(VERIFIER),
            resource: None,
        };
        let mut pair = running.grants.redeem(redemption).await.unwrap();
        for day in 0..89 {
            running.clock.advance(DAY);
            running.server.sweep().await;
            assert!(knows(&running.server.clients, &id).await, "day {day}");
            pair = running
                .grants
                .refresh(&pair.refresh_token, &id, None, None)
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn an_approved_client_without_grants_goes_after_a_year() {
        let running = guard().start();
        let clients = small(&running);
        let id = add(&clients, &running).await.unwrap();
        assert!(clients.approve(&id).await.unwrap());
        running.clock.advance(DAY * 399);
        clients.sweep(&running.grants).await.unwrap();
        assert!(knows(&clients, &id).await);
        running.clock.advance(DAY * 2);
        clients.sweep(&running.grants).await.unwrap();
        assert!(!knows(&clients, &id).await);
    }

    #[tokio::test]
    async fn an_id_of_another_form_is_never_looked_up() {
        let running = guard().start();
        for id in [
            "",
            "mcp_",
            "x",
            "mcp_../../grant/aaaaaaaaaaaa",
            "https://a/b",
        ] {
            assert!(running.server.clients.find(id).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn approving_a_client_that_is_gone_says_so() {
        let running = guard().start();
        let id = ClientId(format!("mcp_{}", random::id()));
        assert!(!running.server.clients.approve(&id).await.unwrap());
    }
}
