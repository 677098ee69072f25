//! Who we are at the CA (RFC 8555 §7.3): an account for each directory, made when it is first needed
//! and kept in the store.

use instant_acme::{Account, AccountCredentials, NewAccount};
use tokio::sync::Mutex;

use super::client::Transport;
use super::order::repeating;
use super::problem::Failure;
use super::record::{AccountRecord, Records};
use super::settings::{Eab, Settings};

/// Opens accounts. Several hosts that need one at once get the same.
#[derive(Default)]
pub(super) struct Accounts {
    making: Mutex<()>,
}

impl Accounts {
    /// The account at `directory`, whose records these are.
    pub(super) async fn open(
        &self,
        settings: &Settings,
        directory: &str,
        records: &Records,
        transport: &Transport,
    ) -> Result<Account, Failure> {
        let _one_at_a_time = self.making.lock().await;
        let known = records.account(kid(settings)).await?;
        let credentials = known
            .as_ref()
            .and_then(|record| read(settings, records, record));
        let (Some(record), Some(credentials)) = (known, credentials) else {
            return create(settings, directory, records, transport).await;
        };
        let account = Account::builder_with_http(Box::new(transport.clone()))
            .from_credentials(credentials)
            .await?;
        if record.email != settings.email {
            update_contact(settings, &account, records, record).await?;
        }
        Ok(account)
    }

    /// The CA says that it does not know the account.
    pub(super) async fn forget(&self, settings: &Settings, records: &Records) {
        let _one_at_a_time = self.making.lock().await;
        if let Err(error) = records.forget_account(kid(settings)).await {
            tracing::warn!(%error, "an account that the CA does not know could not be removed");
        }
    }
}

/// An account bound to another external one is another account.
fn kid(settings: &Settings) -> &str {
    settings.eab.as_ref().map_or("", Eab::kid)
}

fn contact(settings: &Settings) -> Option<String> {
    settings
        .email
        .as_ref()
        .map(|email| format!("mailto:{email}"))
}

fn read(
    settings: &Settings,
    records: &Records,
    record: &AccountRecord,
) -> Option<AccountCredentials> {
    let key = records.account_key(kid(settings));
    let credentials = records.open(&key, &record.sealed_credentials)?;
    serde_json::from_slice(&credentials).ok()
}

async fn create(
    settings: &Settings,
    directory: &str,
    records: &Records,
    transport: &Transport,
) -> Result<Account, Failure> {
    let contact = contact(settings);
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let binding = settings.eab.as_ref().map(Eab::key);
    let builder = || Account::builder_with_http(Box::new(transport.clone()));
    let (account, credentials) =
        repeating!(builder().create(&wanted, directory.to_owned(), binding.as_ref()))?;
    let key = records.account_key(kid(settings));
    let credentials = zeroize::Zeroizing::new(
        serde_json::to_vec(&credentials)
            .map_err(|error| Failure::new(&error.to_string(), "please report it"))?,
    );
    let record = AccountRecord {
        sealed_credentials: records.seal(&key, &credentials),
        email: settings.email.clone(),
    };
    records.put_account(kid(settings), &record).await?;
    Ok(account)
}

async fn update_contact(
    settings: &Settings,
    account: &Account,
    records: &Records,
    record: AccountRecord,
) -> Result<(), Failure> {
    let contact = contact(settings);
    let contact: Vec<&str> = contact.as_deref().into_iter().collect();
    repeating!(account.update_contacts(&contact))?;
    let record = AccountRecord {
        email: settings.email.clone(),
        ..record
    };
    records.put_account(kid(settings), &record).await?;
    Ok(())
}
