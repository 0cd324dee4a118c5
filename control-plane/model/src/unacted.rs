//! The one list of blocks that drover understands but does not act on yet.
//!
//! Nothing is skipped in silence: registering or planning a job that uses one gives a warning, and an alloc whose task
//! would go without something it was promised fails its setup, naming the block. Whoever builds a feature takes its
//! entry out.

use crate::group::Group;
use crate::job::Job;
use crate::task::Task;

/// What happens to a job that uses such a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The job runs; the block has no effect.
    LeftOut,
    /// The task would lack something: its alloc fails its setup.
    FailsSetup,
}

/// One block of the list.
pub struct Unacted {
    /// Its name in job files.
    pub block: &'static str,
    /// What follows.
    pub effect: Effect,
    /// Whether a group uses it by itself.
    in_group: fn(&Group) -> bool,
    /// Whether a task uses it.
    in_task: fn(&Task) -> bool,
}

const fn of_group(block: &'static str, effect: Effect, in_group: fn(&Group) -> bool) -> Unacted {
    Unacted { block, effect, in_group, in_task: |_| false }
}

const fn of_task(block: &'static str, effect: Effect, in_task: fn(&Task) -> bool) -> Unacted {
    Unacted { block, effect, in_group: |_| false, in_task }
}

/// Every block that is understood and not acted on.
pub const UNACTED: &[Unacted] = &[
    Unacted {
        block: "service",
        effect: Effect::LeftOut,
        in_group: |group| !group.services.is_empty(),
        in_task: |task| !task.services.is_empty(),
    },
    Unacted {
        block: "consul",
        effect: Effect::LeftOut,
        in_group: |group| group.consul.is_some(),
        in_task: |task| task.consul.is_some(),
    },
    // A group's bounds hold for whoever changes its count; nobody asks for a task's.
    of_task("scaling", Effect::LeftOut, |task| !task.scaling_policies.is_empty()),
    of_group("disconnect", Effect::LeftOut, |group| group.disconnect.is_some()),
    of_group("migrate", Effect::LeftOut, |group| {
        // Every service group has one; only what was asked for beyond the defaults is worth a word.
        group.migrate.as_ref().is_some_and(|migrate| *migrate != default_migrate())
    }),
    // On the same node the data goes along.
    of_group("ephemeral_disk migrate to another node", Effect::LeftOut, |group| group.ephemeral_disk.migrate),
    of_group("volume other than a static one of the host", Effect::FailsSetup, |group| {
        group.volumes.iter().flatten().any(|(_, volume)| volume["Type"] != "host" || volume["Sticky"] == true)
    }),
    // Those of CNI plugins.
    of_group("network mode other than host, none or bridge", Effect::FailsSetup, |group| {
        group.networks.iter().any(|network| !matches!(network.mode.as_str(), "" | "host" | "none" | "bridge"))
    }),
    of_task("action", Effect::LeftOut, |task| !task.actions.is_empty()),
    of_task("numa", Effect::LeftOut, |task| {
        task.resources.numa.as_ref().is_some_and(|numa| !matches!(numa["Affinity"].as_str(), None | Some("" | "none")))
    }),
    of_task("schedule", Effect::FailsSetup, |task| task.schedule.is_some()),
    of_task("template", Effect::FailsSetup, |task| !task.templates.is_empty()),
    of_task("artifact", Effect::FailsSetup, |task| !task.artifacts.is_empty()),
    of_task("vault", Effect::FailsSetup, |task| task.vault.is_some()),
    of_task("secret", Effect::FailsSetup, |task| !task.secrets.is_empty()),
    of_task("identity", Effect::FailsSetup, |task| {
        let is_handed_out = |identity: &serde_json::Value| identity["Env"] == true || identity["File"] == true;
        task.identity.iter().chain(&task.identities).any(is_handed_out)
    }),
    of_task("csi_plugin", Effect::FailsSetup, |task| task.csi_plugin_config.is_some()),
    of_task("resources network", Effect::FailsSetup, |task| !task.resources.networks.is_empty()),
];

fn default_migrate() -> crate::policy::MigrateStrategy {
    use std::time::Duration;
    crate::policy::MigrateStrategy {
        max_parallel: 1,
        health_check: "checks".to_owned(),
        min_healthy_time: Duration::from_secs(10),
        healthy_deadline: Duration::from_secs(300),
    }
}

/// What a person who registers or plans this job is told, one text per block and place.
pub fn warnings(job: &Job) -> Vec<String> {
    let mut texts = Vec::new();
    for group in &job.task_groups {
        for entry in UNACTED {
            if (entry.in_group)(group) {
                texts.push(warning(entry, &format!("group {:?}", group.name)));
            }
            for task in group.tasks.iter().filter(|task| (entry.in_task)(task)) {
                texts.push(warning(entry, &format!("task {:?} of group {:?}", task.name, group.name)));
            }
        }
    }
    texts
}

fn warning(entry: &Unacted, place: &str) -> String {
    let block = entry.block;
    match entry.effect {
        Effect::LeftOut => format!("{block} in {place} has no effect: drover does not act on it yet"),
        Effect::FailsSetup => format!("{block} in {place} is not supported yet: its allocs will fail their setup"),
    }
}

/// The blocks that keep this task from being set up as promised; empty for a task that can run.
pub fn setup_failures(task: &Task, group: &Group) -> Vec<&'static str> {
    UNACTED
        .iter()
        .filter(|entry| entry.effect == Effect::FailsSetup && ((entry.in_group)(group) || (entry.in_task)(task)))
        .map(|entry| entry.block)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn group_with(task: Task) -> Group {
        Group { name: "g".to_owned(), tasks: vec![task], ..Group::default() }
    }

    #[test]
    fn what_only_announces_is_left_out_and_what_gives_fails_setup() {
        let check = |task: Task, warning: &[&str], failures: &[&str]| {
            let group = group_with(Task { name: "t".to_owned(), ..task });
            assert_eq!(setup_failures(&group.tasks[0], &group), failures);
            assert_eq!(warnings(&Job { task_groups: vec![group], ..Job::default() }), warning);
        };
        check(Task::default(), &[], &[]);
        check(
            Task { services: vec![json!({})], ..Task::default() },
            &[r#"service in task "t" of group "g" has no effect: drover does not act on it yet"#],
            &[],
        );
        check(
            Task { templates: vec![json!({})], ..Task::default() },
            &[r#"template in task "t" of group "g" is not supported yet: its allocs will fail their setup"#],
            &["template"],
        );
        // The identity that every task has gives it nothing.
        check(Task { identity: Some(json!({ "Name": "default", "Env": false })), ..Task::default() }, &[], &[]);
        check(
            Task { identity: Some(json!({ "Name": "default", "Env": true })), ..Task::default() },
            &[r#"identity in task "t" of group "g" is not supported yet: its allocs will fail their setup"#],
            &["identity"],
        );
    }

    #[test]
    fn no_block_stands_twice() {
        for (place, entry) in UNACTED.iter().enumerate() {
            assert!(UNACTED[..place].iter().all(|other| other.block != entry.block), "{}", entry.block);
        }
    }
}
