//! An edge's store is on a disk that notes every write and sync; the power is cut at places of that, and what the disk may hold
//! then is opened again: what was acknowledged is there, and nothing is that was never written.
//!
//! Longer: `DROVER_EDGE_CUTS=5000 cargo test -p drover-cluster --test edge_power_cut -- --nocapture`. `DROVER_SEED` has the same places.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::collections::BTreeMap;
use std::path::Path;

use drover_cluster::dice::{Dice, size};
use drover_edge_agent::store::Store;
use drover_harness::RecordedDisk;
use drover_harness::journal::{Journal, Step, Unsynced};

const WRITERS: usize = 4;
/// Lives of the store, and what each writer does in one.
const LIVES: usize = 3;
const WRITES: usize = 60;
/// Keys of one writer.
const KEYS: usize = 3;
/// So large that the file is rewritten now and then.
const VALUE_BYTES: usize = 3 << 10;

/// What was done to one key: the value (none is its deletion) and how much the disk had done when that was acknowledged.
type History = Vec<(Option<Vec<u8>>, usize)>;

struct Recorded {
    journal: Journal,
    histories: BTreeMap<String, History>,
}

fn value(writer: usize, turn: usize) -> Option<Vec<u8>> {
    // Each sixth takes the value away.
    (turn % 6 != 5).then(|| format!("{writer} {turn} {}", "x".repeat(VALUE_BYTES + turn)).into_bytes())
}

async fn write(
    store: Store,
    writer: usize,
    life: usize,
    steps: impl Fn() -> usize,
) -> Vec<(String, Option<Vec<u8>>, usize)> {
    let mut done = Vec::new();
    for turn in life * WRITES..(life + 1) * WRITES {
        let (key, value) = (format!("wanted/{writer}-{}", turn % KEYS), value(writer, turn));
        let acknowledged = match value.clone() {
            Some(value) => store.put(key.clone(), value),
            None => store.delete(key.clone()),
        };
        acknowledged.await.unwrap();
        done.push((key, value, steps()));
    }
    done
}

fn record() -> Option<Recorded> {
    let dir = tempfile::Builder::new().prefix("drover-test-").tempdir().unwrap();
    let place = dir.path().join("client");
    std::fs::create_dir(&place).unwrap();
    let disk = match RecordedDisk::mount(&place) {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    let mut histories: BTreeMap<String, History> = BTreeMap::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for life in 0..LIVES {
        runtime.block_on(async {
            let (store, values) = Store::open(&place).unwrap();
            let expected =
                histories.iter().filter_map(|(key, history)| Some((key.clone(), history.last()?.0.clone()?)));
            assert_eq!(values, expected.collect::<BTreeMap<_, _>>(), "after {life} lives");
            let (a, b, c, d) = tokio::join!(
                write(store.clone(), 0, life, || disk.steps()),
                write(store.clone(), 1, life, || disk.steps()),
                write(store.clone(), 2, life, || disk.steps()),
                write(store.clone(), 3, life, || disk.steps()),
            );
            for (key, value, steps) in [a, b, c, d].concat() {
                histories.entry(key).or_default().push((value, steps));
            }
            store.close().await;
        });
    }
    assert_eq!(histories.len(), WRITERS * KEYS);
    let journal = disk.journal();
    let renames = (0..journal.len())
        .filter(|place| matches!(journal.step(*place), Some(Step::Names { changes, .. }) if changes.len() > 1))
        .count();
    assert!(renames > 0, "the file was never rewritten");
    Some(Recorded { journal, histories })
}

#[test]
fn what_the_store_acknowledged_survives_a_power_cut_anywhere() {
    let count = size("DROVER_EDGE_CUTS", 300);
    let mut dice = Dice::of_environment("edge power cuts");
    let Some(recorded) = record() else { return };
    let journal = &recorded.journal;
    let is_edge = |place: &usize| !matches!(journal.step(*place), Some(Step::Write { .. }));
    let edges: Vec<usize> = (0..journal.len()).filter(is_edge).collect();
    println!("{} steps, {} of them no writes", journal.len(), edges.len());
    for turn in 0..count {
        let place = match turn % 3 {
            0 => dice.roll(journal.len() + 1),
            _ => edges[dice.roll(edges.len())] + dice.roll(2),
        };
        let unsynced = match turn % 4 {
            0 => Unsynced::Lost,
            1 => Unsynced::Kept,
            _ => Unsynced::Some(Dice::new(dice.roll(usize::MAX) as u64)),
        };
        check(&recorded, place, unsynced);
    }
}

fn check(recorded: &Recorded, place: usize, unsynced: Unsynced) {
    let at = format!("cut before step {place}, {unsynced:?}");
    // In memory where there is a place for it: what is synced now is not the matter.
    let shared = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(shared).unwrap_or_else(|_| tempfile::tempdir().unwrap());
    recorded.journal.cut(place, unsynced).place(dir.path()).unwrap();
    let (store, values) = Store::open(dir.path()).unwrap_or_else(|error| panic!("{at}: {error}"));
    drop(store);
    for key in values.keys() {
        assert!(recorded.histories.contains_key(key), "{at}: {key} was never written");
    }
    for (key, history) in &recorded.histories {
        let acknowledged = history.iter().filter(|(_, steps)| *steps <= place).count();
        let found = values.get(key);
        // What it was after the last acknowledged change, or after one that came later.
        let before = acknowledged.checked_sub(1).and_then(|last| history[last].0.as_ref());
        let is_right = found == before || history[acknowledged..].iter().any(|(value, _)| value.as_ref() == found);
        assert!(is_right, "{at}: {key} is {:?} after {acknowledged} changes", found.map(Vec::len));
    }
}
