//! A server that speaks nonsense, or for another, is not listened to, and harms nobody.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use drover_raft::{FrameReceiver, FrameSender, PeerError, ServeError};
use futures_util::future::BoxFuture;
use serde_json::json;

use crate::region::{Region, runtime, within};

/// Says these frames and ends.
struct Script(std::vec::IntoIter<Vec<u8>>);

impl FrameReceiver for Script {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        let frame = self.0.next().map(Bytes::from);
        Box::pin(async move { Ok(frame) })
    }
}

struct Deaf;

impl FrameSender for Deaf {
    fn send(&mut self, _frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async { Ok(()) })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn nonsense_ends_its_stream_and_nothing_else() {
    runtime().block_on(async {
        let region = Region::formed(3, 30).await;
        region.write(1).await;
        let node = &region.nodes[&2];
        // `Append` as this crate says it, then what is no request.
        let append = [b"\x82\xa1v\x01\xa1r\x81\xa4call".as_slice(), b"\xa6Append"].concat();
        let scripts: Vec<Vec<Vec<u8>>> = vec![
            vec![vec![]],
            vec![b"GET / HTTP/1.1".to_vec()],
            vec![vec![0xdd, 0xff, 0xff, 0xff, 0xff]],
            vec![vec![0x91; 100_000]],
            vec![append.clone(), vec![0xc6, 0xff, 0xff, 0xff, 0xff, 1]],
            vec![append.clone(), append.clone()],
        ];
        for script in scripts {
            let served = node.serve(9, Box::new(Deaf), Box::new(Script(script.into_iter())));
            let result = within("it ends", served).await;
            assert!(matches!(result, Err(ServeError::Wire { from: 9, .. })), "{result:?}");
        }
        // Silence is no crime.
        within("it ends", node.serve(9, Box::new(Deaf), Box::new(Script(vec![].into_iter())))).await.unwrap();
        within("it ends", node.serve(9, Box::new(Deaf), Box::new(Script(vec![append].into_iter())))).await.unwrap();
        region.write(2).await;
        region.settle().await;
        region.end().await;
    });
}

/// Keeps what is said.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Bytes>>>);

impl FrameSender for Ear {
    fn send(&mut self, frame: Bytes) -> BoxFuture<'_, Result<(), PeerError>> {
        self.0.lock().unwrap().push(frame);
        Box::pin(async { Ok(()) })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), PeerError>> {
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn a_snapshot_of_a_later_version_is_refused_before_it_comes() {
    runtime().block_on(async {
        let region = Region::formed(3, 34).await;
        region.write(1).await;
        region.settle().await;
        let leader = region.leader().await;
        let follower = region.others(leader)[0];
        let node = &region.nodes[&follower];
        let before = node.snapshot().digest();
        let term: u64 = node.stats()["term"].parse().unwrap();
        let image = drover_state::image::VERSION + 1;
        let vote = json!({"term": term, "node": leader, "committed": true});
        let call = json!({"Snapshot": {"vote": vote, "len": 1 << 20, "image": image}});
        let opening = rmp_serde::to_vec_named(&json!({"v": 1, "r": {"call": call}})).unwrap();
        let (ear, script) = (Ear::default(), vec![opening, vec![7; 1 << 20]]);
        let served = node.serve(leader, Box::new(ear.clone()), Box::new(Script(script.into_iter())));
        within("it is answered", served).await.unwrap();
        let answers = ear.0.lock().unwrap().clone();
        let answer: serde_json::Value = rmp_serde::from_slice(&answers[0]).unwrap();
        let reason = answer["r"]["Refused"].as_str().unwrap();
        let expected =
            format!("its state has version {image}, the drover of this server reads versions up to {}", image - 1);
        assert!(reason.starts_with(&expected) && reason.ends_with(": upgrade this server"), "{reason}");
        assert!(!region.dir(follower).join("snapshots/received.new").exists());
        assert_eq!(node.snapshot().digest(), before);
        region.write(2).await;
        region.settle().await;
        region.end().await;
    });
}

#[test]
fn two_regions_of_one_name_that_were_formed_apart_leave_each_other_alone() {
    runtime().block_on(async {
        let mut region = Region::empty(6, 33, drover_raft::LogLength::default()).await;
        let (ones, others) = ([1, 2, 3], [4, 5, 6]);
        for set in [ones, others] {
            let members: std::collections::BTreeMap<u64, String> =
                set.iter().map(|number| (*number, crate::region::address(*number))).collect();
            for number in set {
                region.nodes[&number].initialize(members.clone()).await.unwrap();
            }
        }
        region.write_among(&ones, 1).await;
        for number in 2..20 {
            region.write_among(&others, number).await;
        }
        // Found by each other, and again after a start from the disk.
        for _ in 0..2 {
            let leader = region.nodes[&region.leader_of(&others).await].clone();
            let refused = leader.add_learner(1, &crate::region::address(1), crate::region::PATIENCE).await;
            let reason = "raft does not allow it: server 1 belongs to another region of this name, which was formed apart \
                          from this one";
            assert_eq!(refused.unwrap_err().to_string(), reason);
            let call = [b"\x82\xa1v\x01\xa1r\x82\xa4call".as_slice(), b"\xa6Append", b"\xa6origin\x01"].concat();
            let served = region.nodes[&1].serve(4, Box::new(Deaf), Box::new(Script(vec![call].into_iter()))).await;
            assert!(matches!(served, Err(ServeError::OtherRegion { from: 4 })), "{served:?}");
            region.stop(1).await;
            region.start(1).await;
        }
        region.write_among(&ones, 30).await;
        region.write_among(&others, 40).await;
        for number in ones {
            within("a read", async {
                while !crate::region::has(&region.nodes[&number], 30) {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            assert!(crate::region::has(&region.nodes[&number], 1) && !crate::region::has(&region.nodes[&number], 2));
        }
        region.end().await;
    });
}

/// Never says anything.
struct Silent;

impl FrameReceiver for Silent {
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, PeerError>> {
        Box::pin(std::future::pending())
    }
}

#[test]
fn calls_of_one_server_have_a_number_that_they_do_not_pass() {
    runtime().block_on(async {
        let region = Region::formed(1, 31).await;
        let node = &region.nodes[&1];
        let mut open = Vec::new();
        for _ in 0..32 {
            let mut call = Box::pin(node.serve(9, Box::new(Deaf), Box::new(Silent)));
            assert!(futures_util::poll!(&mut call).is_pending());
            open.push(call);
        }
        let refused = node.serve(9, Box::new(Deaf), Box::new(Silent)).await;
        assert!(matches!(refused, Err(ServeError::TooMany { from: 9 })), "{refused:?}");
        let mut other = Box::pin(node.serve(8, Box::new(Deaf), Box::new(Silent)));
        assert!(futures_util::poll!(&mut other).is_pending());
        drop(other);
        drop(open);
        region.end().await;
    });
}

#[test]
fn a_disk_that_fails_ends_the_server_with_a_word() {
    runtime().block_on(async {
        let log = drover_raft::LogLength { snapshot_every: 20, kept: 5 };
        let region = Region::formed_with(1, 32, log).await;
        // Where snapshots go there is a file all at once.
        let dir = region.dir(1).join("snapshots");
        std::fs::remove_dir_all(&dir).unwrap();
        std::fs::write(&dir, "in the way").unwrap();
        let mut leadership = region.nodes[&1].leadership();
        let node = region.nodes[&1].clone();
        let writes = tokio::spawn(async move {
            for number in 0.. {
                if node.propose(&crate::region::write(number)).await.is_err() {
                    break;
                }
            }
        });
        within("it notices", leadership.wait_for(|now| now.leader.is_none())).await.unwrap();
        within("the writer is told", writes).await.unwrap();
        within("it is said", async {
            while region.deaths().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(region.deaths().len(), 1);
        let word = region.deaths()[0].clone();
        assert!(word.starts_with("server 1: the log's disk has failed: "), "{word}");
        assert!(word.contains("/snapshots: File exists") && !word.contains('\n'), "{word}");
    });
}
