//! A state saved to a file and brought into a region.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use drover_model::JobKey;
use drover_raft::{
    Alone, LogLength, ProposeError, RaftNode, RestoreError, Settings, SnapshotError, copy_snapshot, read_snapshot,
    write_snapshot,
};

use crate::region::{PATIENCE, Region, has, runtime, within};

async fn saved(region: &Region) -> Vec<u8> {
    let node = &region.nodes[&region.leader().await];
    node.read_barrier().await.unwrap();
    let (info, file) = node.snapshot_now().await.unwrap();
    let mut bytes = Vec::new();
    assert_eq!(copy_snapshot(&file, &mut bytes).unwrap(), info.len);
    bytes
}

fn file_of(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_state_moves_to_another_region_and_all_its_servers_take_it() {
    runtime().block_on(async {
        let old = Region::formed(1, 40).await;
        for number in 0..500 {
            old.write(number).await;
        }
        let bytes = saved(&old).await;
        let (info, state) = read_snapshot(file_of(&bytes)).unwrap();
        assert_eq!(state.digest(), old.nodes[&1].snapshot().digest());
        old.end().await;

        let short = LogLength { snapshot_every: 50, kept: 5 };
        let mut new = Region::formed_with(3, 41, short).await;
        new.write(1000).await;
        // One is away meanwhile.
        let away = new.others(new.leader().await)[0];
        new.stop(away).await;
        let leader = new.nodes[&new.leader().await].clone();
        let mut events = leader.events();
        let taken = leader.restore(file_of(&bytes)).await.unwrap();
        assert_eq!(taken, info);
        let event = events.recv().await.unwrap();
        assert!(event.changes.is_empty() && event.index > info.index, "a restore wakes everybody");
        assert!((0..500).all(|number| has(&leader, number)) && !has(&leader, 1000));
        // Indexes go on above those of the file.
        assert!(new.write(1001).await > info.index);
        drop(leader);
        new.start(away).await;
        new.settle().await;
        for number in 2000..2100 {
            new.write(number).await;
        }
        for number in [1, 2, 3] {
            new.stop(number).await;
        }
        for number in [1, 2, 3] {
            new.start(number).await;
        }
        let last = new.write(3000).await;
        assert!(last > info.index + 100);
        // Whoever is told that index by another server waits for it, not for that place in the log.
        for node in new.nodes.values() {
            assert!(node.wait_shown(last, PATIENCE).await && has(node, 3000));
        }
        new.settle().await;
        assert!(new.nodes.values().all(|node| has(node, 499) && has(node, 1001) && has(node, 3000)));
        // An older state in the place of a newer one: indexes still rise.
        let leader = new.leader().await;
        new.nodes[&leader].restore(file_of(&bytes)).await.unwrap();
        assert!(new.write(3001).await > last);
        new.settle().await;
        assert!(!has(&new.nodes[&1], 3000));
        new.end().await;
    });
}

#[test]
fn a_file_that_is_not_whole_changes_nothing() {
    runtime().block_on(async {
        let region = Region::formed(1, 42).await;
        for number in 0..50 {
            region.write(number).await;
        }
        let bytes = saved(&region).await;
        let node = &region.nodes[&1];
        let before = (node.snapshot().digest(), node.read_index().await.unwrap());
        let check = async |bytes: &[u8], expected: &str| {
            let error = node.restore(file_of(bytes)).await.unwrap_err();
            assert!(matches!(error, RestoreError::File(_)));
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains('\n'));
        };
        check(&bytes[..bytes.len() / 2], "cut short").await;
        check(&bytes[..bytes.len() - 1], "cut short").await;
        check(b"", "not a snapshot").await;
        check(b"some other file that is long enough", "not a snapshot").await;
        let mut flipped = bytes.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        check(&flipped, "digest differs").await;
        let mut newer = bytes.clone();
        newer[7] = b'9';
        check(&newer, "snapshot has form 9").await;
        assert_eq!((node.snapshot().digest(), node.read_index().await.unwrap()), before);
        node.restore(file_of(&bytes)).await.unwrap();
        region.end().await;
    });
}

#[test]
fn only_the_leader_restores() {
    runtime().block_on(async {
        let region = Region::formed(3, 43).await;
        region.write(1).await;
        let bytes = saved(&region).await;
        let follower = &region.nodes[&region.others(region.leader().await)[0]];
        let error = follower.restore(file_of(&bytes)).await.unwrap_err();
        assert!(matches!(error, RestoreError::Log(ProposeError::NotLeader { .. })), "{error}");
        region.end().await;
    });
}

#[test]
fn a_damaged_snapshot_on_the_leader_s_disk_is_made_anew_for_who_needs_it() {
    runtime().block_on(async {
        let mut region = Region::formed_with(1, 44, LogLength { snapshot_every: 100, kept: 10 }).await;
        for number in 0..350 {
            region.write(number).await;
        }
        let newest =
            std::fs::read_dir(region.dir(1).join("snapshots")).unwrap().map(|entry| entry.unwrap().path()).max();
        let mut file = std::fs::File::options().read(true).write(true).open(newest.unwrap()).unwrap();
        let middle = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.seek(SeekFrom::Start(middle)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(middle)).unwrap();
        file.write_all(&[byte[0] ^ 1]).unwrap();
        region.start(2).await;
        region.nodes[&1].add_learner(2, &crate::region::address(2), PATIENCE).await.unwrap();
        region.settle().await;
        assert!((0..350).all(|number| has(&region.nodes[&2], number)));
        region.end().await;
    });
}

/// Saved by a drover that wrote states in their first form.
const FIRST_FORM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/snapshot/state-1.snap");

#[test]
fn a_state_in_its_first_form_is_restored_and_saved_in_this_one() {
    runtime().block_on(async {
        let open = || std::fs::File::open(FIRST_FORM).unwrap();
        let (info, old) = read_snapshot(open()).unwrap();
        let web = JobKey::new("default", "web");
        assert_eq!((info.index, old.index(), old.allocs_of_job(&web).count()), (11, 11, 3));
        let region = Region::formed(1, 45).await;
        region.nodes[&1].restore(open()).await.unwrap();
        let bytes = saved(&region).await;
        let (_, new) = read_snapshot(file_of(&bytes)).unwrap();
        assert!(new.allocs().eq(old.allocs()) && new.nodes().eq(old.nodes()) && new.evals().eq(old.evals()));
        assert!(new.deployments().eq(old.deployments()) && new.namespaces().eq(old.namespaces()));
        assert_eq!((new.job(&web), new.submission(&web, 0)), (old.job(&web), old.submission(&web, 0)));
        region.end().await;
    });
}

#[test]
fn a_state_that_was_made_elsewhere_is_written_and_read_as_a_snapshot() {
    let (_, state) = read_snapshot(std::fs::File::open(FIRST_FORM).unwrap()).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    let info = write_snapshot(&mut file, &state, 7).unwrap();
    assert_eq!((info.index, info.at_ms), (11, 7));
    let (again, read) = read_snapshot(file.try_clone().unwrap()).unwrap();
    assert_eq!((again, read.digest()), (info.clone(), state.digest()));
    file.set_len(info.len - 1).unwrap();
    assert!(matches!(read_snapshot(file), Err(SnapshotError::CutShort { .. })));
}

#[test]
fn where_an_interval_is_set_entries_are_counted_by_it() {
    runtime().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let address = crate::region::address(1);
        let settings = Settings {
            log: LogLength { snapshot_every: 20, kept: 5 },
            snapshot_interval: Some(std::time::Duration::from_millis(20)),
            ..Settings::new(dir.path().to_path_buf(), 1, address.clone())
        };
        let node = RaftNode::start(settings, Arc::new(Alone), |reason| panic!("{reason}")).await.unwrap();
        node.initialize([(1, address)].into()).await.unwrap();
        within("it leads", node.leadership().wait_for(|now| now.is_leader)).await.unwrap();
        let first = node.propose(&crate::region::write(0)).await.unwrap().0;
        let taken = async {
            let mut number = 1;
            // Fewer than are between two snapshots at a time.
            while node.snapshot_index() < first + 20 {
                node.propose(&crate::region::write(number)).await.unwrap();
                number += 1;
            }
        };
        within("a snapshot", taken).await;
        assert!(node.snapshot_index() >= first + 20);
        node.shutdown().await;
    });
}
