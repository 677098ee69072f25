//! The contract of [`super`], as tests that every backend passes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;

use super::directory::private_room;
use super::*;

const MINUTE: Duration = Duration::from_mins(1);

/// Runs `promise` against every backend, each time with an empty store.
fn every_backend(promise: impl AsyncFn(Store, Clock)) {
    let room = private_room();
    block_on(async {
        let clock = Clock::system();
        promise(Store::memory(clock.clone()), clock).await;
        let clock = Clock::system();
        promise(Store::sqlite(room.path(), clock.clone()).unwrap(), clock).await;
    });
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// Does `attempt` on 64 threads, each with a runtime of its own, all at once; how many won.
fn race<F>(store: &Store, attempt: F) -> usize
where
    F: AsyncFn(Store, u8) -> bool + Sync,
{
    let (barrier, attempt) = (&Barrier::new(64), &attempt);
    std::thread::scope(|scope| {
        let racers: Vec<_> = (0..64_u8)
            .map(|n| {
                let store = store.clone();
                scope.spawn(move || {
                    barrier.wait();
                    block_on(attempt(store, n))
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| usize::from(racer.join().unwrap()))
            .sum()
    })
}

async fn keys(store: &Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let found = store.scan(prefix, after, limit).await.unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn a_store_crosses_threads() {
    fn crosses<T: Send + Sync + Clone + 'static>() {}
    crosses::<Store>();
}

#[test]
fn what_was_put_is_found() {
    every_backend(async |store, clock| {
        assert_eq!(store.get("key").await.unwrap(), None);
        let expires_at = Some(clock.now().after(MINUTE));
        let version = store.put("key", vec![0, 255], expires_at).await.unwrap();
        let record = Record {
            value: vec![0, 255],
            version,
            expires_at,
        };
        assert_eq!(store.get("key").await.unwrap(), Some(record));
        store.put("key", Vec::new(), None).await.unwrap();
        let record = store.get("key").await.unwrap().unwrap();
        assert_eq!((record.value, record.expires_at), (Vec::new(), None));
    });
}

#[test]
fn create_leaves_what_is_there() {
    every_backend(async |store, _| {
        let version = store
            .create("key", b"first".to_vec(), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            store.create("key", b"second".to_vec(), None).await.unwrap(),
            None
        );
        let record = store.get("key").await.unwrap().unwrap();
        assert_eq!((record.value, record.version), (b"first".to_vec(), version));
    });
}

#[test]
fn swap_needs_the_latest_version() {
    every_backend(async |store, _| {
        let first = store.put("key", b"1".to_vec(), None).await.unwrap();
        let second = store
            .swap("key", first, b"2".to_vec(), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            store.swap("key", first, b"3".to_vec(), None).await.unwrap(),
            None
        );
        assert_eq!(store.get("key").await.unwrap().unwrap().value, b"2");
        assert_eq!(
            store
                .swap("absent", second, b"4".to_vec(), None)
                .await
                .unwrap(),
            None
        );
        assert_eq!(store.get("absent").await.unwrap(), None);
    });
}

#[test]
fn no_version_comes_back_however_the_record_is_written() {
    every_backend(async |store, _| {
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            let put = store.put("key", Vec::new(), None).await.unwrap();
            let swapped = store
                .swap("key", put, Vec::new(), None)
                .await
                .unwrap()
                .unwrap();
            assert!(store.delete("key").await.unwrap());
            let created = store
                .create("key", Vec::new(), None)
                .await
                .unwrap()
                .unwrap();
            assert!(store.take("key").await.unwrap().is_some());
            seen.extend([put.0, swapped.0, created.0]);
        }
        assert_eq!(seen.len(), 60);
    });
}

#[test]
fn a_swap_after_delete_and_create_fails() {
    every_backend(async |store, _| {
        let old = store
            .create("key", b"old".to_vec(), None)
            .await
            .unwrap()
            .unwrap();
        store.delete("key").await.unwrap();
        store
            .create("key", b"new".to_vec(), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            store
                .swap("key", old, b"lost".to_vec(), None)
                .await
                .unwrap(),
            None
        );
    });
}

#[test]
fn take_and_delete_leave_nothing() {
    every_backend(async |store, _| {
        store.put("key", b"value".to_vec(), None).await.unwrap();
        assert_eq!(store.take("key").await.unwrap().unwrap().value, b"value");
        assert_eq!(store.take("key").await.unwrap(), None);
        assert!(!store.delete("key").await.unwrap());
        store.put("key", b"value".to_vec(), None).await.unwrap();
        assert!(store.delete("key").await.unwrap());
        assert_eq!(store.get("key").await.unwrap(), None);
    });
}

#[test]
fn an_expired_record_does_not_exist() {
    every_backend(async |store, clock| {
        let soon = Some(clock.now().after(MINUTE));
        let version = store.put("key", b"old".to_vec(), soon).await.unwrap();
        store.put("lasting", b"new".to_vec(), None).await.unwrap();
        clock.advance(MINUTE);
        assert_eq!(store.get("key").await.unwrap(), None);
        assert_eq!(
            store.swap("key", version, Vec::new(), None).await.unwrap(),
            None
        );
        assert_eq!(keys(&store, "", None, 9).await, ["lasting"]);
        assert!(!store.delete("key").await.unwrap());
        assert_eq!(store.take("key").await.unwrap(), None);
    });
}

#[test]
fn an_expired_record_gives_way_to_a_new_one() {
    every_backend(async |store, clock| {
        let soon = Some(clock.now().after(MINUTE));
        store
            .create("lease", b"old".to_vec(), soon)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            store.create("lease", b"new".to_vec(), None).await.unwrap(),
            None
        );
        clock.advance(MINUTE);
        assert!(
            store
                .create("lease", b"new".to_vec(), None)
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(store.get("lease").await.unwrap().unwrap().value, b"new");
    });
}

#[test]
fn sweeping_removes_the_expired_and_counts_them() {
    every_backend(async |store, clock| {
        let soon = Some(clock.now().after(MINUTE));
        for n in 0..30 {
            store
                .put(&format!("soon/{n}"), Vec::new(), soon)
                .await
                .unwrap();
            store
                .put(&format!("lasting/{n}"), Vec::new(), None)
                .await
                .unwrap();
        }
        assert_eq!(store.sweep().await.unwrap(), 0);
        clock.advance(MINUTE);
        assert_eq!(store.sweep().await.unwrap(), 30);
        assert_eq!(store.sweep().await.unwrap(), 0);
        assert_eq!(keys(&store, "", None, 99).await.len(), 30);
    });
}

#[test]
fn a_scan_pages_through_a_prefix_in_order() {
    every_backend(async |store, _| {
        for key in ["a/2", "a/10", "a/1", "b/1", "a", "a0"] {
            store.put(key, Vec::new(), None).await.unwrap();
        }
        assert_eq!(keys(&store, "a/", None, 9).await, ["a/1", "a/10", "a/2"]);
        assert_eq!(keys(&store, "a/", None, 2).await, ["a/1", "a/10"]);
        assert_eq!(keys(&store, "a/", Some("a/10"), 2).await, ["a/2"]);
        assert_eq!(keys(&store, "a/", Some("a/1"), 1).await, ["a/10"]);
        // `after` need not exist, nor lie within the prefix.
        assert_eq!(keys(&store, "a/", Some("a/11"), 9).await, ["a/2"]);
        assert_eq!(keys(&store, "a/", Some("A"), 9).await.len(), 3);
        assert_eq!(keys(&store, "a/", Some("b"), 9).await, [""; 0]);
        assert_eq!(keys(&store, "a/", None, 0).await, [""; 0]);
        assert_eq!(keys(&store, "", None, 99).await.len(), 6);
    });
}

#[test]
fn wildcards_in_a_prefix_mean_themselves() {
    every_backend(async |store, _| {
        for key in ["a%b", "axb", "a_b", "a%", "A%b"] {
            store.put(key, Vec::new(), None).await.unwrap();
        }
        assert_eq!(keys(&store, "a%", None, 9).await, ["a%", "a%b"]);
        assert_eq!(keys(&store, "a_", None, 9).await, ["a_b"]);
    });
}

#[test]
fn a_prefix_ends_where_its_bytes_end() {
    every_backend(async |store, _| {
        let last = char::MAX.to_string();
        let all = [
            "k\u{7f}",
            "k\u{7f}/1",
            "k\u{80}",
            &format!("k{last}"),
            &format!("k{last}{last}"),
            "l",
        ];
        for key in all {
            store.put(key, Vec::new(), None).await.unwrap();
        }
        assert_eq!(keys(&store, "k\u{7f}", None, 9).await, &all[..2]);
        assert_eq!(keys(&store, &format!("k{last}"), None, 9).await, &all[3..5]);
        assert_eq!(keys(&store, "k", None, 9).await, &all[..5]);
        assert_eq!(
            keys(&store, "", Some(&format!("k{last}")), 9).await,
            &all[4..]
        );
    });
}

#[test]
fn of_64_takes_one_succeeds() {
    every_backend(async |store, _| {
        for _ in 0..5 {
            store.put("code", b"approval".to_vec(), None).await.unwrap();
            let winners = race(&store, async |store, _| {
                store.take("code").await.unwrap().is_some()
            });
            assert_eq!(winners, 1);
        }
    });
}

#[test]
fn of_64_creates_one_succeeds() {
    every_backend(async |store, _| {
        let create = async |store: Store, n| {
            let created = store.create("lease", vec![n], None).await.unwrap();
            let holder = store.get("lease").await.unwrap().unwrap();
            created.is_some() == (holder.value == [n]) && created.is_some()
        };
        for _ in 0..5 {
            assert_eq!(race(&store, create), 1);
            store.delete("lease").await.unwrap();
        }
    });
}

#[test]
fn of_64_swaps_of_one_version_one_succeeds() {
    every_backend(async |store, _| {
        for _ in 0..5 {
            let version = store.put("grant", b"g".to_vec(), None).await.unwrap();
            let swap = async |store: Store, n| {
                store
                    .swap("grant", version, vec![n], None)
                    .await
                    .unwrap()
                    .is_some()
            };
            assert_eq!(race(&store, swap), 1);
        }
    });
}

#[test]
fn no_increment_by_swap_is_lost() {
    every_backend(async |store, _| {
        store.put("counter", vec![0], None).await.unwrap();
        race(&store, async |store, _| {
            // At worst, all others go first.
            for _ in 0..64 {
                let record = store.get("counter").await.unwrap().unwrap();
                let next = vec![record.value[0] + 1];
                if store
                    .swap("counter", record.version, next, None)
                    .await
                    .unwrap()
                    .is_some()
                {
                    return true;
                }
            }
            panic!("64 others cannot win 64 times")
        });
        assert_eq!(store.get("counter").await.unwrap().unwrap().value, [64]);
    });
}

#[test]
fn a_closed_store_answers_with_an_error() {
    every_backend(async |store, _| {
        store.put("key", Vec::new(), None).await.unwrap();
        store.close().await;
        store.close().await;
        assert!(matches!(
            store.get("key").await,
            Err(StoreError::Unavailable(_))
        ));
        assert!(store.put("key", Vec::new(), None).await.is_err());
        assert!(store.take("key").await.is_err());
        assert!(store.scan("", None, 1).await.is_err());
        assert!(store.sweep().await.is_err());
    });
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let room = private_room();
    block_on(async {
        let clock = Clock::system();
        let store = Store::sqlite(room.path(), clock.clone()).unwrap();
        let expires_at = Some(clock.now().after(MINUTE));
        let version = store
            .put("key", b"value".to_vec(), expires_at)
            .await
            .unwrap();
        store.close().await;
        let store = Store::sqlite(room.path(), clock).unwrap();
        let record = Record {
            value: b"value".to_vec(),
            version,
            expires_at,
        };
        assert_eq!(store.get("key").await.unwrap(), Some(record));
    });
}

#[test]
fn a_store_dropped_without_close_lets_go_of_its_directory() {
    let room = private_room();
    let store = Store::sqlite(room.path(), Clock::system()).unwrap();
    block_on(store.put("key", b"value".to_vec(), None)).unwrap();
    drop(store);
    let store = reopened(room.path());
    assert_eq!(block_on(store.get("key")).unwrap().unwrap().value, b"value");
}

/// The threads end soon after the drop, not with it.
fn reopened(directory: &Path) -> Store {
    for _ in 0..1000 {
        match Store::sqlite(directory, Clock::system()) {
            Ok(store) => return store,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    panic!("the directory is still locked after ten seconds")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_backends_agree_on_every_scan(
        stored in prop::collection::btree_set("[a-c%_/é\u{10ffff}\u{0}]{0,4}", 0..30),
        prefix in "[a-c%_/é\u{10ffff}\u{0}]{0,2}",
        after in prop::option::of("[a-c%_/é\u{10ffff}\u{0}]{0,4}"),
        limit in 0_usize..12,
    ) {
        let expected: Vec<String> = stored
            .iter()
            .filter(|key| key.starts_with(&prefix))
            .filter(|key| after.as_ref().is_none_or(|after| *key > after))
            .take(limit)
            .cloned()
            .collect();
        every_backend(async |store, _| {
            for key in &stored {
                store.put(key, Vec::new(), None).await.unwrap();
            }
            assert_eq!(keys(&store, &prefix, after.as_deref(), limit).await, expected);
        });
    }
}
