//! What a new version of a job means for the allocs of a group: nothing, a change in place, or a replacement.
//!
//! Every field of a group and a task is named below, so that a new field does not compile until somebody decides.

use std::collections::BTreeMap;

use drover_model::group::Group;
use drover_model::job::Job;
use drover_model::network::Network;
use drover_model::policy::RestartPolicy;
use drover_model::resources::Resources;
use drover_model::task::{LogConfig, Task};

/// What a new version means for the allocs of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// It is the same version.
    None,
    /// The allocs stay and learn the new version.
    InPlace,
    /// Each alloc must be replaced.
    Destructive,
}

/// Compares a group of two versions of a job. A group that one of them lacks is a replacement.
pub fn kind(old: &Job, new: &Job, group: &str) -> GroupChange {
    if old.version == new.version && old.create_index == new.create_index {
        return GroupChange::None;
    }
    if tasks_differ(old, new, group) { GroupChange::Destructive } else { GroupChange::InPlace }
}

/// True when what runs differs between two versions of a group.
pub fn tasks_differ(old: &Job, new: &Job, group: &str) -> bool {
    match (old.group(group), new.group(group)) {
        (Some(old_group), Some(new_group)) => {
            group_differs(old_group, new_group)
                || old_group.tasks.len() != new_group.tasks.len()
                || old_group.tasks.iter().any(|task| match new_group.task(&task.name) {
                    Some(other) => {
                        task_differs(task, other)
                            || merged_meta(old, old_group, task) != merged_meta(new, new_group, other)
                    }
                    None => true,
                })
        }
        _ => true,
    }
}

fn merged_meta<'a>(job: &'a Job, group: &'a Group, task: &'a Task) -> BTreeMap<&'a str, &'a str> {
    let layers = job.meta.iter().chain(&group.meta).chain(&task.meta);
    layers.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn group_differs(old: &Group, new: &Group) -> bool {
    let Group {
        volumes,
        ephemeral_disk,
        networks,
        consul,
        restart_policy,
        // Compared task by task.
        name: _,
        tasks: _,
        meta: _,
        // How many, where and when: nothing that runs changes.
        count: _,
        constraints: _,
        affinities: _,
        spreads: _,
        disconnect: _,
        reschedule_policy: _,
        update: _,
        migrate: _,
        services: _,
        shutdown_delay: _,
        max_run_duration: _,
        stop_after_client_disconnect: _,
        max_client_disconnect: _,
        scaling: _,
        prevent_reschedule_on_lost: _,
    } = old;
    *volumes != new.volumes
        || *ephemeral_disk != new.ephemeral_disk
        || networks_differ(networks, &new.networks)
        || *consul != new.consul
        || restart_differs(restart_policy, &new.restart_policy)
}

fn restart_differs(old: &RestartPolicy, new: &RestartPolicy) -> bool {
    let RestartPolicy { render_templates, attempts: _, interval: _, delay: _, mode: _ } = old;
    *render_templates != new.render_templates
}

fn networks_differ(old: &[Network], new: &[Network]) -> bool {
    old != new
}

fn task_differs(old: &Task, new: &Task) -> bool {
    let Task {
        driver,
        user,
        config,
        env,
        resources,
        artifacts,
        vault,
        consul,
        templates,
        volume_mounts,
        csi_plugin_config,
        secrets,
        identity,
        identities,
        log_config,
        restart_policy,
        kind,
        // Found by it; merged with the job's and group's.
        name: _,
        meta: _,
        // Read by the edge while the task runs, or only at its next start.
        lifecycle: _,
        constraints: _,
        affinities: _,
        services: _,
        kill_timeout: _,
        dispatch_payload: _,
        leader: _,
        shutdown_delay: _,
        kill_signal: _,
        scaling_policies: _,
        actions: _,
        schedule: _,
    } = old;
    *driver != new.driver
        || *user != new.user
        || *config != new.config
        || *env != new.env
        || resources_differ(resources, &new.resources)
        || *artifacts != new.artifacts
        || *vault != new.vault
        || *consul != new.consul
        || *templates != new.templates
        || *volume_mounts != new.volume_mounts
        || *csi_plugin_config != new.csi_plugin_config
        || *secrets != new.secrets
        || *identity != new.identity
        || *identities != new.identities
        || logs_differ(log_config, &new.log_config)
        || restart_differs(restart_policy, &new.restart_policy)
        || *kind != new.kind
}

fn logs_differ(old: &LogConfig, new: &LogConfig) -> bool {
    let LogConfig { disabled, max_files: _, max_file_size_mib: _ } = old;
    *disabled != new.disabled
}

fn resources_differ(old: &Resources, new: &Resources) -> bool {
    let Resources {
        cpu_mhz,
        cores,
        memory_mib,
        memory_max_mib,
        secrets_mib,
        networks,
        devices,
        numa,
        // Obsolete on tasks.
        disk_mib: _,
        iops: _,
    } = old;
    *cpu_mhz != new.cpu_mhz
        || *cores != new.cores
        || *memory_mib != new.memory_mib
        || *memory_max_mib != new.memory_max_mib
        || *secrets_mib != new.secrets_mib
        || networks_differ(networks, &new.networks)
        || *devices != new.devices
        || *numa != new.numa
}
