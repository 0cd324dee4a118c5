//! What is measured of the log: writes, their commit, and what applying them takes.

use std::time::Duration;

use drover_state::Command;

/// The name under which applying a command is measured. Those that dashboards do not know share one.
pub fn apply_name(command: &Command) -> &'static str {
    match command {
        Command::RegisterJob(_) | Command::LaunchJob(_) => "nomad.nomad.fsm.register_job",
        Command::DeregisterJob { .. } => "nomad.nomad.fsm.deregister_job",
        Command::SetJobStability { .. } => "nomad.nomad.fsm.apply_job_stability",
        Command::TagJobVersion { .. } | Command::UntagJobVersion { .. } => "nomad.nomad.fsm.apply_job_version_tag",
        Command::RegisterNode { .. } => "nomad.nomad.fsm.register_node",
        Command::UpdateNodeStatus { .. } => "nomad.nomad.fsm.node_status_update",
        Command::UpdateNodeEligibility { .. } => "nomad.nomad.fsm.node_eligibility_update",
        Command::DeregisterNode { .. } => "nomad.nomad.fsm.deregister_node",
        Command::UpsertEvals { .. } => "nomad.nomad.fsm.update_eval",
        Command::ApplyPlans { .. } => "nomad.nomad.fsm.apply_plan_results",
        Command::UpdateAllocs { .. } => "nomad.nomad.fsm.alloc_client_update",
        Command::UpdateAllocTransitions { .. } => "nomad.nomad.fsm.alloc_update_desired_transition",
        Command::UpdateDeployment(_) => "nomad.nomad.fsm.apply_deployment_status_update",
        Command::UpsertDeployment { .. } => "nomad.nomad.fsm.apply_deployment_promotion",
        Command::SetAllocHealth(_) => "nomad.nomad.fsm.apply_deployment_alloc_health",
        Command::ScaleJob(_) => "nomad.nomad.fsm.upsert_scaling_event",
        Command::SetAutopilotConfig { .. } => "nomad.nomad.fsm.autopilot",
        Command::UpsertNamespace { .. } => "nomad.nomad.fsm.apply_namespace_upsert",
        Command::DeleteNamespace { .. } => "nomad.nomad.fsm.apply_namespace_delete",
        Command::Collect { .. } => "nomad.nomad.fsm.delete_eval",
        _ => "nomad.nomad.fsm.other",
    }
}

/// A command was applied.
pub fn applied(name: &'static str, took: Duration) {
    drover_metrics::duration(name, &[], took);
    drover_metrics::duration("nomad.raft.fsm.apply", &[], took);
}

/// An entry that this server has proposed is committed and applied.
pub fn committed(took: Duration) {
    drover_metrics::count("nomad.raft.apply", &[], 1.0);
    drover_metrics::duration("nomad.raft.commitTime", &[], took);
}

/// A snapshot of the state was written.
pub fn persisted(took: Duration) {
    drover_metrics::duration("nomad.nomad.fsm.persist", &[], took);
}
