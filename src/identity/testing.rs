//! Ways to sign in, for the tests of other rooms.

use std::sync::Arc;

use super::local::{LocalUser, PasswordSecret};
use super::{IdentityProviders, Settings};
use crate::clock::Clock;
use crate::http::ExternalUrl;
use crate::http::client::HttpClient;
use crate::store::Store;

/// Local users who share a password.
pub(crate) fn local_users(names: &[&str], password: &str) -> Arc<IdentityProviders> {
    let user = |name: &&str| LocalUser {
        name: (*name).to_owned(),
        secret: PasswordSecret::Plain(password.into()),
    };
    providers(Settings {
        local: names.iter().map(user).collect(),
        ..Settings::default()
    })
}

/// With a clock and a store of their own.
pub(crate) fn providers(settings: Settings) -> Arc<IdentityProviders> {
    let clock = Clock::system();
    IdentityProviders::new(
        settings,
        ExternalUrl::parse("https://guard.test").unwrap(),
        HttpClient::default(),
        Store::memory(clock.clone()),
        clock,
    )
}
