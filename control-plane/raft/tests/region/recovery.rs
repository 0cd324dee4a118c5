//! A quorum that is lost for good, and a region that goes on.

use drover_raft::{RaftNode, Settings};

use crate::region::{Region, address, has, runtime};

fn row(number: u64) -> String {
    format!(
        r#"{{"id":"00000000-0000-{number:04x}-0000-000000000000","address":"{}","non_voter":false}}"#,
        address(number)
    )
}

fn peers_file(region: &Region, numbers: &[u64]) {
    let rows: Vec<String> = numbers.iter().map(|number| row(*number)).collect();
    for number in numbers {
        std::fs::write(region.dir(*number).join("peers.json"), format!("[{}]", rows.join(","))).unwrap();
    }
}

#[test]
fn one_of_three_goes_on_alone() {
    runtime().block_on(async {
        let mut region = Region::formed(3, 20).await;
        for number in 0..30 {
            region.write(number).await;
        }
        region.settle().await;
        region.lose(2).await;
        region.lose(3).await;
        region.stop(1).await;
        peers_file(&region, &[1]);
        region.start(1).await;
        region.write(30).await;
        assert!((0..=30).all(|number| has(&region.nodes[&1], number)));
        assert_eq!(region.nodes[&1].members().len(), 1);
        assert!(!region.dir(1).join("peers.json").exists() && region.dir(1).join("peers.json.taken").exists());
        // It is a region like any other: it comes back by itself, and grows.
        region.stop(1).await;
        region.start(1).await;
        region.write(31).await;
        region.start(4).await;
        let node = region.nodes[&1].clone();
        node.add_learner(4, &address(4), crate::region::PATIENCE).await.unwrap();
        node.promote(4).await.unwrap();
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn two_of_five_with_unequal_logs_agree() {
    runtime().block_on(async {
        let mut region = Region::formed(5, 21).await;
        for number in 0..20 {
            region.write(number).await;
        }
        region.settle().await;
        // One stays behind before the quorum is lost.
        let leader = region.leader().await;
        let behind = region.others(leader)[0];
        region.stop(behind).await;
        for number in 20..40 {
            region.write(number).await;
        }
        let ahead = region.others(leader)[0];
        region.settle().await;
        for number in region.nodes.keys().copied().collect::<Vec<_>>() {
            if number == ahead { region.stop(number).await } else { region.lose(number).await }
        }
        peers_file(&region, &[ahead, behind]);
        region.start(behind).await;
        region.start(ahead).await;
        region.write(40).await;
        region.settle().await;
        assert!(region.nodes.values().all(|node| (0..=40).all(|number| has(node, number))));
        assert!(region.nodes.values().all(|node| node.members().len() == 2));
        region.end().await;
    });
}

#[test]
fn a_peers_file_that_is_wrong_changes_nothing() {
    runtime().block_on(async {
        let mut region = Region::formed(1, 22).await;
        region.write(1).await;
        region.stop(1).await;
        let file = region.dir(1).join("peers.json");
        for (text, expected) in [
            ("{", "is not a list of servers"),
            ("[]", "does not name this server"),
            (&format!("[{}]", row(2)), "does not name this server"),
        ] {
            std::fs::write(&file, text).unwrap();
            let settings = Settings::new(region.dir(1), 1, address(1));
            let error = RaftNode::start(settings, region.net.peers_of(1), |_| {}).await.err().unwrap();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(expected), "{source}");
            assert!(file.exists());
        }
        std::fs::remove_file(&file).unwrap();
        region.start(1).await;
        region.write(2).await;
        assert!(has(&region.nodes[&1], 1));
        region.end().await;
    });
}

#[test]
fn a_disk_of_another_server_is_refused() {
    runtime().block_on(async {
        let mut region = Region::formed(1, 23).await;
        region.stop(1).await;
        let settings = Settings::new(region.dir(1), 2, address(2));
        let error = RaftNode::start(settings, region.net.peers_of(2), |_| {}).await.err().unwrap().to_string();
        assert!(error.contains("belongs to another server: [1], not 2"), "{error}");
        region.start(1).await;
        region.write(1).await;
        region.end().await;
    });
}
