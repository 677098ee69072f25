//! Registered clients (RFC 7591), as they lie in the store under `client/<id>`.

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::crypto::TokenHash;
use crate::grant::ClientId;
use crate::store::{Store, StoreError};

/// How a client proves who it is at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AuthMethod {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

/// One client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) auth_method: AuthMethod,
    /// Present for the two secret methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<TokenHash>,
    pub(super) redirect_uris: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) issued_at: Timestamp,
}

/// All clients.
pub(super) struct Clients {
    _store: Store,
    _clock: Clock,
}

impl Clients {
    pub(super) async fn find(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let _ = id;
        todo!()
    }
}
