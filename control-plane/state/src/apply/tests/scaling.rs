//! What commands do to the noun of this file: the counts of groups.

use serde_json::json;

use super::*;
use crate::ScaleJob;
use crate::scaling::{SCALING_EVENTS_MAX, ScalingEvent, policies};

fn scale(region: &mut Region, count: Option<i64>, enforce_index: Option<u64>) -> Answer {
    let event = ScalingEvent { count, message: "why".to_owned(), ..ScalingEvent::default() };
    let at = region.now();
    let scale = ScaleJob { key: key("web"), group: "front".to_owned(), event, enforce_index, at, eval: None };
    region.run(Command::ScaleJob(Box::new(scale))).0
}

#[test]
fn a_change_is_a_version_and_a_note_is_none() {
    let mut region = Region::new();
    region.register(job("web", 1));
    assert_eq!(scale(&mut region, Some(3), None), Answer::Job { job_modify_index: 3, version: 1 });
    assert_eq!(scale(&mut region, None, None), Answer::Job { job_modify_index: 3, version: 1 });
    assert_eq!(region.job("web").task_groups[0].count, 3);
    let events = region.state.scaling_events(&key("web")).unwrap();
    let counts: Vec<_> = events["front"].iter().map(|event| (event.count, event.previous_count)).collect();
    assert_eq!(counts, [(None, 3), (Some(3), 1)]);
}

#[test]
fn an_enforced_index_is_checked_for_a_change() {
    let mut region = Region::new();
    region.register(job("web", 1));
    let Answer::Refused(refusal) = scale(&mut region, Some(3), Some(9)) else { panic!("not refused") };
    let text = "Enforcing job modify index 9: job exists with conflicting job modify index: 2";
    assert_eq!(refusal.to_string(), text);
    assert!(matches!(scale(&mut region, None, Some(9)), Answer::Job { .. }));
    assert!(matches!(scale(&mut region, Some(3), Some(2)), Answer::Job { .. }));
}

#[test]
fn notes_are_bounded() {
    let mut region = Region::new();
    region.register(job("web", 1));
    for _ in 0..30 {
        scale(&mut region, None, None);
    }
    assert_eq!(region.state.scaling_events(&key("web")).unwrap()["front"].len(), SCALING_EVENTS_MAX);
    // Those of a group that is gone go with the next note.
    let mut renamed = job("web", 1);
    renamed.task_groups[0].name = "back".to_owned();
    region.register(renamed);
    let at = region.now();
    let scale = ScaleJob { key: key("web"), group: "back".to_owned(), at, ..ScaleJob::default() };
    region.run(Command::ScaleJob(Box::new(scale)));
    let events = region.state.scaling_events(&key("web")).unwrap();
    assert_eq!(events.keys().collect::<Vec<_>>(), ["back"]);
}

#[test]
fn a_policy_keeps_its_id_and_its_indexes_tell_of_changes() {
    let with = |max: i64, priority: i64| {
        let mut job = Job { priority, ..job("web", 1) };
        job.task_groups[0].scaling = Some(json!({ "Min": 1, "Max": max, "Enabled": true }));
        job
    };
    let mut region = Region::new();
    let mut check = |job: Job, expected: (u64, u64)| {
        region.register(job);
        let job = region.job("web");
        let policy = policies(job).next().unwrap();
        assert_eq!((policy.create_index(), policy.modify_index()), expected);
        assert_eq!(policy.stored["Target"], json!({ "Namespace": "default", "Job": "web", "Group": "front" }));
        assert_eq!(policy.stored["ID"], json!(policy.id()));
        (job.version, policy.id())
    };
    let first = check(with(5, 50), (2, 2));
    // Asked for again it is no new version, and a change elsewhere is none of the policy.
    assert_eq!(check(with(5, 50), (2, 2)), first);
    assert_eq!(check(with(5, 60), (2, 2)), (1, first.1.clone()));
    assert_eq!(check(with(6, 60), (2, 5)), (2, first.1.clone()));
    let other = crate::scaling::policy_id(&key("we"), "bfront");
    assert_ne!(other, crate::scaling::policy_id(&key("web"), "front"));
}
