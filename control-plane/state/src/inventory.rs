//! What a state holds, by kind: how many and how long, for those who look into a snapshot.

use serde::Serialize;

use crate::packed;
use crate::state::State;

/// All of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How many there are.
    pub count: usize,
    /// Their length in the image, in bytes.
    pub bytes: usize,
}

impl State {
    /// What there is, the longest first.
    pub fn inventory(&self) -> Vec<Kind> {
        let submissions = self.submissions.iter().flat_map(|(_, texts)| texts.values());
        let mut kinds = vec![
            kind("Job", self.jobs.keys()),
            kind("JobVersion", self.versions.values().flat_map(|versions| versions.values())),
            kind("JobSubmission", submissions),
            kind("JobSummary", self.summaries.values()),
            kind("ScalingEvents", self.scaling.values()),
            kind("PeriodicLaunch", self.launches.iter()),
            kind("Node", self.nodes.values()),
            kind("Eval", self.evals.values()),
            kind("Alloc", self.allocs.values()),
            kind("Deployment", self.deployments.values()),
            kind("JoinToken", self.join_tokens.values()),
            kind("AutopilotConfig", self.autopilot.iter()),
            kind("SchedulerConfig", self.scheduler_config.iter()),
            kind("Namespace", self.namespaces.all()),
        ];
        kinds.retain(|kind| kind.count > 0);
        kinds.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.name.cmp(b.name)));
        kinds
    }
}

fn kind(name: &'static str, items: impl Iterator<Item = impl Serialize>) -> Kind {
    let mut kind = Kind { name, count: 0, bytes: 0 };
    // As in the image what repeats is said once, also from one item to the next.
    let mut writer = packed::Writer::default();
    for item in items {
        item.serialize(&mut writer).expect("the types of the state hold nothing that can't be packed");
        kind.count += 1;
        kind.bytes += writer.drain();
    }
    kind
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drover_model::node::Node;
    use drover_model::{JobKey, NodeId, Timestamp};

    use super::*;

    #[test]
    fn the_longest_comes_first_and_what_is_not_there_does_not_come() {
        let mut state = State::default();
        let names = |kinds: &[Kind]| kinds.iter().map(|kind| (kind.name, kind.count)).collect::<Vec<_>>();
        // The namespace that is always there.
        assert_eq!(names(&state.inventory()), [("Namespace", 1)]);
        for number in 0..3 {
            let id = NodeId::from_random([number; 16]);
            state.nodes.insert(id, Arc::new(Node { id, ..Node::default() }));
        }
        state.launches.insert(JobKey::new("default", "cron"), Timestamp(1));
        let kinds = state.inventory();
        assert_eq!(names(&kinds), [("Node", 3), ("Namespace", 1), ("PeriodicLaunch", 1)]);
        assert!(kinds.is_sorted_by(|a, b| a.bytes > b.bytes) && kinds[2].bytes > 0);
        assert!(kinds.iter().map(|kind| kind.bytes).sum::<usize>() < state.encode().len());
    }
}
