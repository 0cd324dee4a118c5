//! Servers that join, are promoted, move, leave and are replaced.

use std::time::Duration;

use drover_raft::{LogLength, MemberError};

use crate::region::{PATIENCE, Region, address, has, runtime, within};

const SHORT: LogLength = LogLength { snapshot_every: 200, kept: 20 };

#[test]
fn a_region_of_one_grows_to_three_and_outlives_its_founder() {
    runtime().block_on(async {
        let mut region = Region::empty(3, 10, LogLength::default()).await;
        region.nodes[&1].bootstrap().await.unwrap();
        region.leader().await;
        region.write(1).await;
        let founder = region.nodes[&1].clone();
        for number in [2, 3] {
            assert!(!region.nodes[&number].is_initialized().await.unwrap());
            founder.add_learner(number, &address(number), PATIENCE).await.unwrap();
            assert!(!founder.members().iter().find(|member| member.number == number).unwrap().is_voter);
            founder.promote(number).await.unwrap();
            founder.promote(number).await.unwrap();
        }
        assert_eq!(founder.members().iter().filter(|member| member.is_voter).count(), 3);
        region.settle().await;
        let progress = founder.progress().unwrap();
        assert_eq!(progress.peers.len(), 2);
        assert!(progress.peers.iter().all(|peer| peer.since_contact.is_some() && peer.last_index > 0));
        // Its clock rested while it was alone. Now it must run: the two others hear it, and miss it.
        drop(founder);
        region.stop(1).await;
        region.write(2).await;
        assert!(region.nodes.values().all(|node| node.members().len() == 3));
        region.end().await;
    });
}

#[test]
fn a_learner_far_behind_catches_up_by_a_snapshot() {
    runtime().block_on(async {
        let mut region = Region::formed_with(3, 11, SHORT).await;
        for number in 0..700 {
            region.write(number).await;
        }
        region.start(4).await;
        let leader = region.nodes[&region.leader().await].clone();
        assert!(leader.snapshot_index() > 0);
        leader.add_learner(4, &address(4), PATIENCE).await.unwrap();
        region.settle().await;
        assert!((0..700).all(|number| has(&region.nodes[&4], number)));
        assert!(region.nodes[&4].snapshot_index() > 0, "it came entry by entry");
        // What came as a snapshot is on its disk.
        region.stop(4).await;
        region.start(4).await;
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn a_voter_is_replaced_by_another() {
    runtime().block_on(async {
        let mut region = Region::formed(3, 12).await;
        region.write(1).await;
        let leader = region.leader().await;
        let lost = region.others(leader)[0];
        region.lose(lost).await;
        region.start(4).await;
        let node = region.nodes[&leader].clone();
        node.add_learner(4, &address(4), PATIENCE).await.unwrap();
        node.promote(4).await.unwrap();
        node.remove(lost).await.unwrap();
        assert!(matches!(node.remove(lost).await, Err(MemberError::Unknown { .. })));
        let numbers: Vec<u64> = node.members().iter().map(|member| member.number).collect();
        assert!(!numbers.contains(&lost) && numbers.contains(&4) && numbers.len() == 3, "{numbers:?}");
        region.settle().await;
        // With the new one two of three are enough again.
        drop(node);
        region.stop(leader).await;
        region.write(2).await;
        assert!(region.nodes.values().all(|node| has(node, 1)));
        region.end().await;
    });
}

#[test]
fn a_leader_takes_itself_out_and_a_server_that_was_removed_does_not_come_back_by_itself() {
    runtime().block_on(async {
        let mut region = Region::formed(3, 13).await;
        let leader = region.leader().await;
        let others = region.others(leader);
        region.nodes[&leader].remove(leader).await.unwrap();
        region.write_among(&others, 1).await;
        let mut members = region.nodes[&others[0]].watch_members();
        within("it is out", members.wait_for(|members| members.len() == 2)).await.unwrap();
        // It starts, waits to be asked, and may be.
        region.stop(leader).await;
        region.start(leader).await;
        region.write_among(&others, 2).await;
        let next = region.leader_of(&others).await;
        region.nodes[&next].add_learner(leader, &address(leader), PATIENCE).await.unwrap();
        region.nodes[&next].promote(leader).await.unwrap();
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn an_address_changes_and_a_vote_is_taken_and_given_back() {
    runtime().block_on(async {
        let region = Region::formed(3, 14).await;
        let leader = region.leader().await;
        let node = &region.nodes[&leader];
        let other = region.others(leader)[0];
        node.update_address(other, "10.0.9.9:4647").await.unwrap();
        let known = |number| node.members().into_iter().find(|member| member.number == number).unwrap();
        assert_eq!(known(other).address, "10.0.9.9:4647");
        node.demote(other).await.unwrap();
        assert!(!known(other).is_voter);
        let refused = node.transfer_leadership(Some(other)).await;
        assert!(matches!(refused, Err(MemberError::Refused { .. })), "{refused:?}");
        node.promote(other).await.unwrap();
        assert!(known(other).is_voter);
        region.write(1).await;
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn what_can_t_be_done_is_refused_and_bounded() {
    runtime().block_on(async {
        let region = Region::formed(1, 15).await;
        let node = &region.nodes[&1];
        assert_eq!(node.remove(1).await, Err(MemberError::LastVoter { number: 1 }));
        assert_eq!(node.demote(1).await, Err(MemberError::LastVoter { number: 1 }));
        assert_eq!(node.promote(9).await, Err(MemberError::Unknown { number: 9 }));
        assert_eq!(node.transfer_leadership(None).await, Err(MemberError::NoSuccessor));
        // Nobody is at 9: it becomes a learner, and the wait for it ends.
        let waited = Duration::from_millis(50);
        let behind = node.add_learner(9, &address(9), waited).await;
        assert_eq!(behind, Err(MemberError::Behind { number: 9, waited }));
        node.remove(9).await.unwrap();
        region.write(1).await;
        region.end().await;

        let region = Region::formed(3, 16).await;
        let follower = region.others(region.leader().await)[0];
        let refused = region.nodes[&follower].remove(1).await;
        assert!(matches!(refused, Err(MemberError::NotLeader { .. })), "{refused:?}");
        assert_eq!(region.nodes[&follower].progress(), None);
        region.end().await;
    });
}
