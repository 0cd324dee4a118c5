//! Tables for the evals of a node's change.

use drover_model::alloc::ClientStatus;
use drover_model::job::JobType;

use super::*;
use crate::region::{Region, alloc, at, job, key, node_id, report};

#[test]
fn jobs_with_allocs_there_and_system_jobs_are_looked_at() {
    let mut region = Region::new();
    for id in ["web", "db", "ended", "purged"] {
        region.register(job(id, 1));
    }
    region.register(Job { kind: JobType::System, ..job("all", 1) });
    region.register(Job { kind: JobType::System, ..job("stopped", 1) });
    region.stop("stopped");
    region.place(vec![alloc(1, "web"), alloc(2, "web"), alloc(3, "ended"), alloc(4, "purged")]);
    region.report(vec![report(3, ClientStatus::Complete)]);
    let purge = drover_state::Command::DeregisterJob { key: key("purged"), purge: true, eval: None, at: at(0) };
    region.run(purge);
    let check = |node: u8, expected: &[&str]| {
        let evals = evals(&region.snapshot(), node_id(node), EvalTrigger::NodeUpdate, at(1), 7);
        let jobs: Vec<&str> = evals.iter().map(|eval| eval.job_id.as_str()).collect();
        assert_eq!(jobs, expected);
        assert!(evals.iter().all(|eval| eval.node_id == Some(node_id(node)) && eval.priority == 50));
        let ids: std::collections::BTreeSet<_> = evals.iter().map(|eval| eval.id).collect();
        assert_eq!(ids.len(), evals.len());
    };
    check(1, &["all", "purged", "web"]);
    check(9, &["all"]);
}
