//! Local users: `--password`, `--password-hash`, `--users-file` (threat cases ).
//!
//! Passwords are checked two at a time, on threads of their own, so that sign-ins can neither fill
//! the memory nor hold up requests. Whoever guesses is slowed down (`brakes`).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::brakes::{Attempt, Brakes};
use super::password::{Checked, NotChecked, is_correct};
use super::{Identity, Subject};
use crate::policy::Network;

pub use super::password::{hash_password, is_known_hash, weakness};
pub use super::users_file::{UsersFileError, parse_users_file};

/// The name of the user that `--password` and `--password-hash` make.
pub const OWNER: &str = "owner";

/// Each takes some 20 MiB and a core.
const CHECKS_AT_ONCE: usize = 2;

/// Checks under way or waiting for their turn; some 20 ms each.
const CHECKS_ACCEPTED: usize = 64;

/// When to come back if the checks could not be done.
const BUSY: Duration = Duration::from_secs(2);

/// One local user.
#[derive(Clone)]
pub struct LocalUser {
    pub name: String,
    pub secret: PasswordSecret,
}

/// What a password is checked against.
#[derive(Clone)]
pub enum PasswordSecret {
    /// `--password`: the password itself, compared in constant time.
    Plain(SecretString),
    /// A PHC string (`$argon2id$…`) or a bcrypt hash (`$2b$…`), already known to parse.
    Hash(String),
}

/// All local users, with the brakes on guessing.
pub struct LocalUsers {
    users: ArcSwap<Vec<LocalUser>>,
    brakes: Mutex<Brakes>,
    accepted: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// The outcome of a sign-in attempt that did not succeed.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Name or password is wrong; which, is not said.
    WrongCredentials,
    /// Too many attempts; try again after this long.
    Later(Duration),
}

impl LocalUsers {
    /// `users` may be empty: then there is no local sign-in.
    pub fn new(users: Vec<LocalUser>) -> Self {
        Self {
            users: ArcSwap::from_pointee(users),
            brakes: Mutex::default(),
            accepted: Arc::new(Semaphore::new(CHECKS_ACCEPTED)),
            turns: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
        }
    }

    /// Takes over new users. The brakes stay: or a reload would give whoever guesses new attempts.
    pub(super) fn replace(&self, users: Vec<LocalUser>) {
        self.users.store(Arc::new(users));
    }

    pub fn is_empty(&self) -> bool {
        self.users.load().is_empty()
    }

    /// Whether this is one of the users.
    pub fn knows(&self, subject: &Subject) -> bool {
        let Some(name) = subject.as_str().strip_prefix("local:") else {
            return false;
        };
        self.users.load().iter().any(|user| user.name == name)
    }

    /// Whether the sign-in form must ask for a name: not when there is one user only.
    pub fn asks_for_name(&self) -> bool {
        need_names(&self.users.load())
    }

    /// Checks a name and password. `name` is ignored where [`Self::asks_for_name`] is false.
    pub async fn sign_in(
        &self,
        name: &str,
        password: SecretString,
        from: IpAddr,
    ) -> Result<Identity, Refused> {
        let admitted = self.brakes().admit(Network::of(from), Instant::now());
        let attempt = admitted.map_err(Refused::Later)?;
        let users = self.users.load_full();
        let user = find(&users, name);
        // An unknown name costs a check as well, or the time taken would tell it from a known one.
        let Some(checked) = user.or_else(|| users.first()) else {
            return Err(Refused::WrongCredentials);
        };
        match (self.check(password, checked.secret.clone()).await, user) {
            (Ok(true), Some(user)) => Ok(self.welcome(user, &attempt)),
            (Ok(_), _) => Err(Refused::WrongCredentials),
            (Err(NotChecked), _) => {
                self.brakes().forgive(&attempt);
                Err(Refused::Later(BUSY))
            }
        }
    }

    fn welcome(&self, user: &LocalUser, attempt: &Attempt) -> Identity {
        self.brakes().forgive(attempt);
        Identity::local(&user.name)
    }

    async fn check(&self, password: SecretString, secret: PasswordSecret) -> Checked {
        self.in_turn(move || is_correct(&password, &secret)).await
    }

    /// The worker holds the permits: a client that hangs up does not make room for another check
    /// while its own still runs.
    async fn in_turn<W>(&self, work: W) -> Checked
    where
        W: FnOnce() -> Checked + Send + 'static,
    {
        let accepted = Arc::clone(&self.accepted)
            .try_acquire_owned()
            .map_err(|_| NotChecked)?;
        let turn = Arc::clone(&self.turns)
            .acquire_owned()
            .await
            .map_err(|_| NotChecked)?;
        let worker = spawn_blocking(move || {
            let outcome = work();
            drop((accepted, turn));
            outcome
        });
        worker.await.unwrap_or(Err(NotChecked))
    }

    /// Nothing panics while it holds the lock, so poison cannot mean a half-done change.
    fn brakes(&self) -> MutexGuard<'_, Brakes> {
        self.brakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn need_names(users: &[LocalUser]) -> bool {
    users.len() > 1
}

fn find<'a>(users: &'a [LocalUser], name: &str) -> Option<&'a LocalUser> {
    if need_names(users) {
        users.iter().find(|user| user.name == name)
    } else {
        users.first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    fn user(name: &str, secret: PasswordSecret) -> LocalUser {
        LocalUser {
            name: name.into(),
            secret,
        }
    }

    fn hashed(name: &str, password: &str) -> LocalUser {
        user(
            name,
            PasswordSecret::Hash(bcrypt::hash(password, 4).unwrap()),
        )
    }

    fn owner() -> LocalUsers {
        LocalUsers::new(vec![user(
            OWNER,
            PasswordSecret::Plain("violet-anchor".into()),
        )])
    }

    #[tokio::test]
    async fn a_single_user_signs_in_without_a_name() {
        let users = owner();
        assert!(!users.asks_for_name() && !users.is_empty());
        let identity = users
            .sign_in("whoever", "violet-anchor".into(), ip(1))
            .await
            .unwrap();
        assert_eq!(identity.subject.as_str(), "local:owner");
        assert_eq!(identity.login, "owner");
        let refused = users.sign_in("", "violet-ancho".into(), ip(1)).await;
        assert_eq!(refused, Err(Refused::WrongCredentials));
    }

    #[tokio::test]
    async fn each_of_several_users_needs_their_own_password() {
        let argon2 = PasswordSecret::Hash(hash_password("bobs password").unwrap());
        let users = LocalUsers::new(vec![hashed("alice", "hers"), user("bob", argon2)]);
        assert!(users.asks_for_name());
        let sign_in = async |name: &str, password: &str| {
            let outcome = users.sign_in(name, password.into(), ip(1)).await;
            outcome.map(|identity| identity.login)
        };
        assert_eq!(sign_in("alice", "hers").await.unwrap(), "alice");
        assert_eq!(sign_in("bob", "bobs password").await.unwrap(), "bob");
        assert_eq!(sign_in("bob", "hers").await, Err(Refused::WrongCredentials));
        // An unknown name is checked against the first user's hash, and refused all the same.
        assert_eq!(
            sign_in("carol", "hers").await,
            Err(Refused::WrongCredentials)
        );
        assert_eq!(
            sign_in("Alice", "hers").await,
            Err(Refused::WrongCredentials)
        );
    }

    #[tokio::test]
    async fn without_users_nobody_signs_in() {
        let users = LocalUsers::new(Vec::new());
        assert!(users.is_empty() && !users.asks_for_name());
        let refused = users.sign_in("", "".into(), ip(1)).await;
        assert_eq!(refused, Err(Refused::WrongCredentials));
    }

    #[tokio::test]
    async fn replaced_users_are_gone_at_once_and_the_new_ones_can_sign_in() {
        let users = owner();
        let (alice, bob) = (hashed("alice", "hers"), hashed("bob", "his"));
        users.replace(vec![alice, bob]);
        assert!(users.asks_for_name());
        for (name, known) in [(OWNER, false), ("alice", true), ("bob", true)] {
            assert_eq!(users.knows(&Subject::local(name)), known, "{name}");
        }
        assert!(!users.knows(&Subject::github(None, 7)));
        assert!(users.sign_in("alice", "hers".into(), ip(1)).await.is_ok());
        let refused = users.sign_in(OWNER, "violet-anchor".into(), ip(1)).await;
        assert_eq!(refused, Err(Refused::WrongCredentials));
    }

    #[tokio::test]
    async fn a068_new_users_do_not_loosen_the_brakes() {
        let users = owner();
        while users.sign_in("", "wrong".into(), ip(1)).await == Err(Refused::WrongCredentials) {}
        users.replace(vec![hashed("alice", "hers")]);
        let refused = users.sign_in("", "hers".into(), ip(1)).await;
        assert!(matches!(refused, Err(Refused::Later(_))), "{refused:?}");
        assert!(users.sign_in("", "hers".into(), ip(2)).await.is_ok());
    }

    #[tokio::test]
    async fn a068_500_wrong_passwords_at_once_get_five_checks() {
        let users = Arc::new(LocalUsers::new(vec![hashed(OWNER, "right")]));
        let attempts: Vec<_> = (0..500)
            .map(|n| {
                let users = Arc::clone(&users);
                let guess =
                    async move { users.sign_in("", format!("wrong{n}").into(), ip(1)).await };
                tokio::spawn(guess)
            })
            .collect();
        let mut checked = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Err(Refused::WrongCredentials) => checked += 1,
                Err(Refused::Later(wait)) => assert!(wait <= Duration::from_secs(1)),
                Ok(identity) => panic!("{identity:?}"),
            }
        }
        assert_eq!(checked, 5);
        assert!(users.sign_in("", "right".into(), ip(2)).await.is_ok());
    }

    #[tokio::test]
    async fn a068_a_client_that_hangs_up_frees_no_turn_before_its_check_is_done() {
        let users = Arc::new(owner());
        let (finish, told) = std::sync::mpsc::channel::<()>();
        let (started, has_begun) = tokio::sync::oneshot::channel();
        let client = tokio::spawn({
            let users = Arc::clone(&users);
            async move {
                let work = move || {
                    let _ = started.send(());
                    let _ = told.recv();
                    Ok(false)
                };
                users.in_turn(work).await
            }
        });
        has_begun.await.unwrap();
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        assert_eq!(users.turns.available_permits(), CHECKS_AT_ONCE - 1);
        finish.send(()).unwrap();
        // All turns are free again once the check is done.
        drop(users.turns.acquire_many(2).await.unwrap());
    }

    #[tokio::test]
    async fn when_too_many_wait_already_the_answer_is_later_and_costs_nothing() {
        let users = owner();
        let all = u32::try_from(CHECKS_ACCEPTED).unwrap();
        let taken = Arc::clone(&users.accepted)
            .try_acquire_many_owned(all)
            .unwrap();
        for _ in 0..100 {
            let refused = users.sign_in("", "violet-anchor".into(), ip(1)).await;
            assert_eq!(refused, Err(Refused::Later(BUSY)));
        }
        drop(taken);
        assert!(
            users
                .sign_in("", "violet-anchor".into(), ip(1))
                .await
                .is_ok()
        );
    }
}
