use super::*;
use crate::settings::Settings;

fn at(seconds: i64, index: u64) -> Kept {
    Kept { at: Timestamp(seconds * 1_000_000_000), index }
}

fn every(seconds: u64, count: usize) -> KeptSnapshots {
    KeptSnapshots { interval: Duration::from_secs(seconds), count }
}

#[test]
fn one_is_due_after_the_interval_and_only_when_something_changed() {
    let check = |now: i64, last: Option<Kept>, index: u64, kept: KeptSnapshots, expected: bool| {
        assert_eq!(due(at(now, 0).at, last.as_ref(), index, kept), expected, "{now} {last:?} {index} {kept:?}");
    };
    check(100, None, 5, every(60, 3), true);
    check(100, None, 0, every(60, 3), false);
    check(100, None, 5, every(0, 3), false);
    check(100, None, 5, every(60, 0), false);
    check(159, Some(at(100, 5)), 6, every(60, 3), false);
    check(160, Some(at(100, 5)), 6, every(60, 3), true);
    check(1000, Some(at(100, 5)), 5, every(60, 3), false);
    // The clock was set back.
    check(50, Some(at(100, 5)), 6, every(60, 3), true);
    // An older state was restored.
    check(160, Some(at(100, 5)), 4, every(60, 3), true);
}

#[test]
fn the_oldest_are_too_many() {
    let (all, now) = ([at(3, 30), at(1, 10), at(2, 20)], at(3, 0).at);
    assert_eq!(too_many(&all, 2, now), [at(1, 10)]);
    assert_eq!(too_many(&all, 1, now), [at(1, 10), at(2, 20)]);
    assert_eq!(too_many(&all, 3, now), []);
    assert_eq!(too_many(&[], 3, now), []);
}

#[test]
fn those_from_the_future_are_the_oldest() {
    // The clock was at 1000 for a while.
    let (all, now) = ([at(1000, 10), at(3, 20), at(1001, 15), at(2, 5)], at(4, 0).at);
    assert_eq!(newest(&all, now), Some(&at(3, 20)));
    assert_eq!(too_many(&all, 2, now), [at(1000, 10), at(1001, 15)]);
    assert!(!due(now, newest(&all, now), 30, every(60, 3)), "they are no reason to make one at every look");
    assert_eq!(newest(&all[..1], now), Some(&at(1000, 10)));
    assert!(due(now, newest(&all[..1], now), 30, every(60, 3)));
}

#[test]
fn names_say_when_and_what() {
    let kept = at(1_795_261_153, 14);
    assert_eq!(kept.name(), "state-1795261153000-14.snap");
    assert_eq!(Kept::of_name(&kept.name()), Some(kept));
    for other in ["state-1.snap", "state-1-2.new", "state--2.snap", "x", "state-9223372036854775807-1.snap"] {
        assert_eq!(Kept::of_name(other), None, "{other}");
    }
}

#[tokio::test]
async fn a_server_keeps_its_newest_and_no_more() {
    let data = tempfile::tempdir().unwrap();
    let settings = Settings { kept_snapshots: every(0, 0), ..Settings::alone("n1", data.path().to_owned()) };
    let server = Server::start(settings, |reason| panic!("{reason}")).await.unwrap();
    let dir = data.path().join(DIRECTORY);
    let names = || {
        let mut found: Vec<Kept> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| Kept::of_name(&entry.unwrap().file_name().to_string_lossy()).expect("a snapshot"))
            .collect();
        found.sort();
        found
    };
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("state-7-7.new"), "half").unwrap();
    for round in 0..4 {
        // Something changes each time.
        let request = crate::join_tokens::JoinTokenRequest::default();
        server.create_join_token(request).await.unwrap();
        look(&server, &dir, KeptSnapshots { interval: Duration::from_nanos(1), count: 2 }).await.unwrap();
        assert_eq!(names().len(), 2.min(round + 1));
    }
    let before = names();
    look(&server, &dir, KeptSnapshots { interval: Duration::from_nanos(1), count: 2 }).await.unwrap();
    assert_eq!(names(), before, "nothing changed");
    let newest = std::fs::File::open(dir.join(before.last().unwrap().name())).unwrap();
    let (info, state) = snapshots::read_snapshot(newest).unwrap();
    assert_eq!((info.index, state.digest()), (before[1].index, server.reading().snapshot.digest()));
    server.shutdown().await;
}
