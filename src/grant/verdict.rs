//! What a genuine refresh token means to its family (design rule D-05), by the family's record and
//! the time alone: nothing is read or written here.
//!
//! The grace of a replaced token begins when its pair is made, and anew whenever that pair is handed
//! out while nobody has used it: whoever was given it last must not lose it to the next who comes.

use std::time::Duration;

use super::record::{Generation, GrantRecord, Superseded};
use crate::clock::Timestamp;
use crate::crypto::TokenHash;

/// How often a confirmed pair is handed out again. While nobody has used it, repeating it gives
/// nothing away that replacing it would not, so a burst of parallel refreshes is not counted.
const MAX_REPEATS: u32 = 20;

/// How many graces a replaced token is good for, however often it comes. Everybody who comes with it
/// is given the same pair, so a thief among them cannot be told from the client: that moment must
/// not be put off for ever. Five of the default are ten minutes.
const GRACES: u32 = 5;

/// A grace begins anew at most so often in its own length, because each time is a write. Whoever is
/// given a pair has three quarters of the grace left: more, by default, than the minute and a quarter
/// that the longest bursts of a client's processes take.
const NOTES: u32 = 4;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The newest: replace it.
    Rotate,
    /// The newest pair was lost on the way: replace it too.
    Replace,
    /// The newest pair, once more.
    Repeat,
    /// Theft, or as good as.
    Reuse,
    /// Nothing that the store could have lost: refused, and the family lives on.
    Unknown,
}

pub(super) fn judge(
    family: &GrantRecord,
    presented: TokenHash,
    generation: u32,
    now: Timestamp,
    grace: Duration,
) -> Verdict {
    if presented == family.newest.refresh {
        return Verdict::Rotate;
    }
    // Genuine and newer than the store knows: the store lost its last write, not the client its
    // honesty. A crash loses no more than that.
    match generation.checked_sub(family.newest.number) {
        Some(1) => return Verdict::Rotate,
        Some(2..) => return Verdict::Unknown,
        Some(0) | None => {}
    }
    let Some(previous) = family
        .previous
        .as_ref()
        .filter(|it| it.refresh == presented)
    else {
        return Verdict::Reuse;
    };
    let in_grace = in_grace(&family.newest, previous, now, grace);
    match (in_grace, family.newest.confirmed) {
        (true, true) if previous.repeats >= MAX_REPEATS => Verdict::Reuse,
        (true, _) => Verdict::Repeat,
        (false, false) => Verdict::Replace,
        (false, true) => Verdict::Reuse,
    }
}

fn in_grace(newest: &Generation, previous: &Superseded, now: Timestamp, grace: Duration) -> bool {
    let made = newest.issued_at;
    let handed_out = previous.handed_out_at.unwrap_or(made);
    now.since(handed_out) <= grace && now.since(made) <= grace.saturating_mul(GRACES)
}

/// Whether to write down that the newest pair, unused so far, is handed out once more.
pub(super) fn is_worth_noting(
    newest: &Generation,
    previous: &Superseded,
    now: Timestamp,
    grace: Duration,
) -> bool {
    let noted = previous.handed_out_at.unwrap_or(newest.issued_at);
    now.since(noted) > grace / NOTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::record::grant_key;
    use crate::grant::testing::{LIFETIMES, PAST_GRACE, Room, in_parallel, is_invalid, room};
    use crate::grant::{GrantId, TokenPair};
    use crate::store::Version;

    const GRACE: Duration = LIFETIMES.refresh_grace;
    const MOMENT: Duration = Duration::from_secs(1);

    /// A pair whose answer was lost, and the one that it replaced.
    async fn lost(room: &Room) -> (TokenPair, TokenPair) {
        let first = room.pair().await;
        let lost = room.refresh(&first.refresh_token).await.unwrap();
        (first, lost)
    }

    async fn again(room: &Room, first: &TokenPair) -> TokenPair {
        room.refresh(&first.refresh_token).await.unwrap()
    }

    async fn is_refused(room: &Room, pair: &TokenPair) -> bool {
        is_invalid(&room.refresh(&pair.refresh_token).await)
    }

    fn key(pair: &TokenPair) -> String {
        grant_key(&GrantId(pair.refresh_token[4..26].to_owned()))
    }

    async fn version(room: &Room, pair: &TokenPair) -> Version {
        room.store.get(&key(pair)).await.unwrap().unwrap().version
    }

    #[tokio::test]
    async fn a078_who_is_given_a_lost_pair_late_keeps_it_when_another_comes_after_the_grace() {
        for is_used in [false, true] {
            let room = room();
            let (first, _) = lost(&room).await;
            room.clock.advance(Duration::from_secs(119));
            let given = again(&room, &first).await;
            if is_used {
                assert!(room.works(&given).await);
            }
            room.clock.advance(2 * MOMENT);
            assert!(again(&room, &first).await.refresh_token == given.refresh_token);
            assert!(room.works(&given).await);
            assert!(room.refresh(&given.refresh_token).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a078_who_is_given_a_lost_pair_has_three_quarters_of_the_grace_left() {
        for given_after in [0, 29, 30, 31, 59, 60, 61, 90, 119, 120].map(Duration::from_secs) {
            let room = room();
            let (first, lost) = lost(&room).await;
            room.clock.advance(given_after);
            again(&room, &first).await;
            room.clock.advance(GRACE * 3 / 4);
            assert!(again(&room, &first).await.refresh_token == lost.refresh_token);
        }
    }

    #[tokio::test]
    async fn a077_32_refreshes_at_the_very_end_of_the_grace_get_one_pair() {
        let room = room();
        let (first, lost) = lost(&room).await;
        room.clock.advance(GRACE);
        let pairs = in_parallel(32, async || again(&room, &first).await);
        assert!(
            pairs
                .iter()
                .all(|pair| pair.refresh_token == lost.refresh_token)
        );
        room.clock.advance(GRACE);
        assert!(again(&room, &first).await.refresh_token == lost.refresh_token);
    }

    #[tokio::test]
    async fn a_pair_that_many_processes_ask_for_is_written_four_times_in_a_grace_at_most() {
        let room = room();
        let (first, _) = lost(&room).await;
        let mut writes = Vec::new();
        for second in 0..120 {
            let before = version(&room, &first).await;
            again(&room, &first).await;
            if version(&room, &first).await != before {
                writes.push(second);
            }
            room.clock.advance(MOMENT);
        }
        assert_eq!(writes, [31, 62, 93]);
    }

    #[tokio::test]
    async fn a076_reuse_after_a_grace_that_began_anew_ends_the_family() {
        let room = room();
        let (first, _) = lost(&room).await;
        room.clock.advance(GRACE);
        let given = again(&room, &first).await;
        assert!(room.works(&given).await);
        room.clock.advance(PAST_GRACE);
        assert!(is_refused(&room, &first).await);
        assert!(is_refused(&room, &given).await && !room.works(&given).await);
    }

    #[tokio::test]
    async fn a076_the_grace_of_a_pair_in_use_does_not_begin_anew() {
        let room = room();
        let (first, second) = lost(&room).await;
        assert!(room.works(&second).await);
        room.clock.advance(GRACE);
        again(&room, &first).await;
        room.clock.advance(MOMENT);
        assert!(is_refused(&room, &first).await);
        assert!(is_refused(&room, &second).await);
    }

    #[tokio::test]
    async fn a076_a_replaced_token_that_comes_all_the_time_is_good_for_five_graces() {
        for is_used in [false, true] {
            let room = room();
            let (first, lost) = lost(&room).await;
            for _ in 0..GRACES {
                room.clock.advance(GRACE);
                assert!(again(&room, &first).await.refresh_token == lost.refresh_token);
            }
            if is_used {
                assert!(room.works(&lost).await);
            }
            room.clock.advance(MOMENT);
            let late = room.refresh(&first.refresh_token).await;
            assert_eq!(is_invalid(&late), is_used);
            if let Ok(late) = late {
                assert!(late.refresh_token != lost.refresh_token);
                assert!(room.works(&late).await && !room.works(&lost).await);
            }
        }
    }

    #[tokio::test]
    async fn a_record_without_a_note_counts_from_the_rotation() {
        let room = room();
        let (first, lost) = lost(&room).await;
        room.clock.advance(GRACE);
        again(&room, &first).await;
        let record = room.store.get(&key(&first)).await.unwrap().unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        let previous = json["previous"].as_object_mut().unwrap();
        assert!(previous.remove("handed_out_at").is_some());
        let (value, until) = (serde_json::to_vec(&json).unwrap(), record.expires_at);
        room.store.put(&key(&first), value, until).await.unwrap();
        room.clock.advance(MOMENT);
        assert!(again(&room, &first).await.refresh_token != lost.refresh_token);
    }
}
