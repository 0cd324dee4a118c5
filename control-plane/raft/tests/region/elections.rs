//! Who leads, who may, and what a leader that was cut off still says.

use std::time::Duration;

use drover_raft::ProposeError;

use crate::region::{PATIENCE, Region, has, runtime, within, write};

/// A machine that stands still for long enough has another leader elected by itself, now and then. One that comes back and disturbs
/// does so each time.
const ROUNDS_MAX: u64 = 5;

#[test]
fn three_and_five_servers_hold_one_state() {
    runtime().block_on(async {
        for count in [3, 5] {
            let region = Region::formed(count, count).await;
            let mut last = 0;
            for number in 0..50 {
                let index = region.write(number).await;
                assert!(index > last);
                last = index;
            }
            region.settle().await;
            for node in region.nodes.values() {
                assert!((0..50).all(|number| has(node, number)));
                assert_eq!(node.members().len() as u64, count);
                assert_eq!(node.members().iter().filter(|member| member.is_leader).count(), 1);
                assert!(node.last_contact().is_some());
            }
            region.end().await;
        }
    });
}

#[test]
fn another_leads_when_the_leader_dies_and_nothing_acknowledged_is_lost() {
    runtime().block_on(async {
        let mut region = Region::formed(3, 1).await;
        for number in 0..20 {
            region.write(number).await;
        }
        let first = region.leader().await;
        region.stop(first).await;
        let second = region.leader().await;
        assert_ne!(first, second);
        for number in 20..40 {
            region.write(number).await;
        }
        assert!((0..40).all(|number| has(&region.nodes[&second], number)));
        region.start(first).await;
        region.settle().await;
        assert!((0..40).all(|number| has(&region.nodes[&first], number)));
        region.end().await;
    });
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_follows_when_it_is_back() {
    runtime().block_on(async {
        let region = Region::formed(3, 2).await;
        region.write(1).await;
        let old = region.leader().await;
        let others = region.others(old);
        let old_node = region.nodes[&old].clone();
        region.net.cut(&[old], &others);

        // It holds its duties no longer than it may, and answers no read that should be fresh.
        let mut leadership = old_node.leadership();
        let write_while_cut = tokio::spawn({
            let node = old_node.clone();
            async move { node.propose(&write(2)).await }
        });
        within("it stops leading", leadership.wait_for(|now| !now.is_leader)).await.unwrap();
        let read = old_node.read_index().await;
        assert!(matches!(read, Err(ProposeError::NotLeader { .. })), "{read:?}");

        let new = region.leader_of(&others).await;
        region.write_among(&others, 3).await;
        region.net.heal();
        within("it follows", leadership.wait_for(|now| now.leader.as_ref().is_some_and(|(id, _)| *id == new)))
            .await
            .unwrap();
        let written = within("the write ends", write_while_cut).await.unwrap();
        assert!(matches!(written, Err(ProposeError::Undecided { .. } | ProposeError::NotLeader { .. })), "{written:?}");
        region.settle().await;
        for node in region.nodes.values() {
            assert!(has(node, 1) && has(node, 3) && !has(node, 2));
        }
        region.end().await;
    });
}

#[test]
fn a_server_that_was_away_does_not_disturb_the_leader() {
    runtime().block_on(async {
        let region = Region::formed(3, 3).await;
        region.write(1).await;
        let mut seen = Vec::new();
        for round in 0..ROUNDS_MAX {
            let leader = region.leader().await;
            let away = region.others(leader)[0];
            let before = region.nodes[&leader].leadership().borrow().clone();
            region.net.cut(&[away], &region.others(away));
            let term = region.nodes[&away].leadership().borrow().term;
            // It asks for pre-votes, again and again, and nobody hears it.
            within("it campaigns", region.net.tries(away, 12)).await;
            // However slow the machine is: it goes on to no later term by itself, which is what would disturb.
            assert_eq!(region.nodes[&away].leadership().borrow().term, term);
            region.write_among(&region.others(away), 10 + round).await;
            region.net.heal();
            region.settle().await;
            let after = region.nodes[&leader].leadership().borrow().clone();
            if (after.term, &after.leader) == (before.term, &before.leader) {
                return region.end().await;
            }
            seen.push((before, after));
        }
        panic!("it is elected, or makes another be elected, each time: {seen:#?}");
    });
}

#[test]
fn a_leader_that_hears_nobody_is_replaced_even_if_it_is_heard() {
    runtime().block_on(async {
        let region = Region::formed(3, 4).await;
        let deaf = region.leader().await;
        for other in region.others(deaf) {
            region.net.cut_one_way(other, deaf);
        }
        let others = region.others(deaf);
        region.leader_of(&others).await;
        region.write_among(&others, 1).await;
        region.net.heal();
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn leadership_is_handed_over_on_request() {
    runtime().block_on(async {
        let region = Region::formed(3, 5).await;
        for round in 0..4 {
            region.write(round).await;
            let (leader, next) = region.hand_over(round % 2 == 0).await;
            assert_ne!(next, leader);
            let mut leadership = region.nodes[&next].leadership();
            within("it leads", leadership.wait_for(|now| now.is_leader)).await.unwrap();
            region.write(100 + round).await;
        }
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn all_come_back_with_all_they_had() {
    runtime().block_on(async {
        let mut region = Region::formed(3, 6).await;
        for round in 0..3 {
            for number in 0..10 {
                region.write(round * 10 + number).await;
            }
            for number in [1, 2, 3] {
                region.stop(number).await;
            }
            for number in [1, 2, 3] {
                region.start(number).await;
            }
        }
        region.settle().await;
        assert!(region.nodes.values().all(|node| (0..30).all(|number| has(node, number))));
        region.end().await;
    });
}

#[test]
fn a_read_on_any_server_sees_what_was_acknowledged_before_it() {
    runtime().block_on(async {
        let region = Region::formed(3, 7).await;
        for number in 0..200 {
            region.write(number).await;
            let reader = &region.nodes[&(number % 3 + 1)];
            let index = region.read_index().await;
            assert!(reader.wait_applied(index, PATIENCE).await);
            assert!(has(reader, number), "stale read of {number}");
            if number % 50 == 49 {
                region.hand_over(false).await;
            }
        }
        // An index that nobody has is not waited for without end.
        assert!(!region.nodes[&1].wait_applied(u64::MAX, Duration::from_millis(10)).await);
        region.end().await;
    });
}

#[test]
fn a_server_that_hears_no_leader_knows_of_none() {
    runtime().block_on(async {
        let region = Region::formed(3, 8).await;
        region.write(1).await;
        let leader = region.leader().await;
        let alone = region.others(leader)[0];
        let node = &region.nodes[&alone];
        let mut leadership = node.leadership();
        within("it knows", leadership.wait_for(|now| now.leader.is_some())).await.unwrap();
        region.net.cut(&[alone], &region.others(alone));
        within("it knows no more", leadership.wait_for(|now| now.leader.is_none())).await.unwrap();
        assert!(node.last_contact().unwrap() > Duration::from_millis(500));
        assert_eq!(region.nodes[&leader].leadership().borrow().leader.as_ref().map(|(id, _)| *id), Some(leader));
        region.net.heal();
        within("it knows again", leadership.wait_for(|now| now.leader.is_some())).await.unwrap();

        // A leader whose quorum is silent would lead, and that is all it knows.
        let leader = region.leader().await;
        region.net.cut(&[leader], &region.others(leader));
        let mut leadership = region.nodes[&leader].leadership();
        within("it leads no more", leadership.wait_for(|now| now.leader.is_none())).await.unwrap();
        region.end().await;
    });
}
