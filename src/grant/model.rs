//! The rules of D-05 against every order of events: a client that keeps to them, one that its
//! network fails, and a thief.

use std::time::Duration;

use proptest::prelude::*;

use super::testing::{LIFETIMES, PAST_GRACE, Room, is_invalid, room};
use super::{GrantError, TokenPair};

#[derive(Clone, Debug)]
enum Event {
    /// The client refreshes and the answer arrives.
    Refresh,
    /// The client refreshes and the answer is lost, though the guard acted on it.
    RefreshLost,
    /// Several processes of the client refresh at once, with what they share.
    RefreshTogether(u8),
    /// The client calls the resource.
    Use,
    /// Time goes by.
    Wait(Duration),
    /// The guard forgets what has expired.
    Sweep,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Refresh),
        3 => Just(Event::RefreshLost),
        1 => (2..5_u8).prop_map(Event::RefreshTogether),
        4 => Just(Event::Use),
        3 => (0..300_u64).prop_map(|seconds| Event::Wait(Duration::from_secs(seconds))),
        1 => (0..72_u64).prop_map(|hours| Event::Wait(Duration::from_hours(hours))),
        1 => Just(Event::Sweep),
    ]
}

/// A party that holds a pair: the client, or who stole it.
struct Holder {
    pair: TokenPair,
    age: Duration,
}

impl Holder {
    async fn refresh(&mut self, room: &Room) -> Result<(), GrantError> {
        self.pair = room.refresh(&self.pair.refresh_token).await?;
        self.age = LIFETIMES.access_token.saturating_sub(self.pair.expires_in);
        Ok(())
    }

    async fn uses(&self, room: &Room) -> bool {
        room.works(&self.pair).await
    }
}

/// One client alone; nothing it does, and nothing that the network does to it, may cost it its grant.
async fn honest(events: Vec<Event>) -> Result<(), TestCaseError> {
    let room = room();
    let started = room.clock.now();
    let mut client = Holder {
        pair: room.pair().await,
        age: Duration::ZERO,
    };
    for event in events {
        // Signing in anew after 90 days is no loss.
        if room.clock.now().since(started) + Duration::from_hours(96) > LIFETIMES.grant {
            break;
        }
        match event {
            Event::Refresh => prop_assert!(client.refresh(&room).await.is_ok()),
            Event::RefreshLost => {
                prop_assert!(room.refresh(&client.pair.refresh_token).await.is_ok());
            }
            Event::RefreshTogether(processes) => {
                let shared = client.pair.refresh_token.clone();
                client.refresh(&room).await.unwrap();
                for _ in 1..processes {
                    let same = room.refresh(&shared).await.unwrap();
                    prop_assert_eq!(&same.refresh_token, &client.pair.refresh_token);
                }
            }
            Event::Use => {
                let young = client.age + Duration::from_secs(30) < LIFETIMES.access_token;
                let old = client.age > LIFETIMES.access_token;
                let works = client.uses(&room).await;
                prop_assert!(works || !young);
                prop_assert!(!works || !old);
            }
            Event::Wait(time) => {
                room.clock.advance(time);
                client.age += time;
            }
            Event::Sweep => _ = room.store.sweep().await.unwrap(),
        }
    }
    prop_assert!(client.refresh(&room).await.is_ok());
    prop_assert!(client.uses(&room).await);
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Party {
    Client,
    Thief,
}

/// A thief copied the pair. Whoever comes when, both go on using what they get, and never within
/// the grace of each other: as soon as both have come, one of them was recognised and all is over.
async fn theft(before: u8, turns: Vec<Party>) -> Result<(), TestCaseError> {
    let room = room();
    let bystander = room.pair().await;
    let mut client = Holder {
        pair: room.pair().await,
        age: Duration::ZERO,
    };
    for _ in 0..before {
        client.refresh(&room).await.unwrap();
        client.uses(&room).await;
        room.clock.advance(PAST_GRACE);
    }
    let mut thief = Holder {
        pair: client.pair.clone(),
        age: client.age,
    };
    let (mut client_came, mut thief_came) = (false, false);
    for turn in turns {
        let (party, came) = match turn {
            Party::Client => (&mut client, &mut client_came),
            Party::Thief => (&mut thief, &mut thief_came),
        };
        *came = true;
        let result = party.refresh(&room).await;
        let both = client_came && thief_came;
        prop_assert_eq!(is_invalid(&result), both);
        if both {
            prop_assert!(!client.uses(&room).await && !thief.uses(&room).await);
            prop_assert!(is_invalid(&client.refresh(&room).await));
            prop_assert!(is_invalid(&thief.refresh(&room).await));
            break;
        }
        let party = if client_came { &client } else { &thief };
        prop_assert!(party.uses(&room).await);
        room.clock.advance(PAST_GRACE);
    }
    prop_assert!(room.refresh(&bystander.refresh_token).await.is_ok());
    Ok(())
}

fn run<F: Future<Output = Result<(), TestCaseError>>>(case: F) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(case)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a078_a_client_alone_never_loses_its_grant(
        events in prop::collection::vec(event(), 1..60),
    ) {
        run(honest(events))?;
    }

    #[test]
    fn a076_two_holders_of_one_family_end_it(
        before in 0..4_u8,
        turns in prop::collection::vec(
            prop_oneof![Just(Party::Client), Just(Party::Thief)], 1..8),
    ) {
        run(theft(before, turns))?;
    }
}
