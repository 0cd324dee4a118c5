//! The commands, one per file: arguments and settings, calls to the agent, output.

use crate::grammar::Command;

pub mod job_file;
pub mod monitor;
pub mod resolve;

pub mod agent;
pub mod agent_info;
pub mod agent_monitor;
pub mod alloc_exec;
pub mod alloc_fs;
pub mod alloc_logs;
pub mod alloc_restart;
pub mod alloc_signal;
pub mod alloc_status;
pub mod alloc_stop;
pub mod check;
pub mod deployment_actions;
pub mod deployment_list;
pub mod deployment_status;
pub mod eval_list;
pub mod eval_status;
pub mod fmt;
pub mod job_allocs;
pub mod job_deployments;
pub mod job_dispatch;
pub mod job_eval;
pub mod job_history;
pub mod job_init;
pub mod job_inspect;
pub mod job_periodic_force;
pub mod job_plan;
pub mod job_promote;
pub mod job_revert;
pub mod job_run;
pub mod job_scale;
pub mod job_scaling_events;
pub mod job_start;
pub mod job_status;
pub mod job_stop;
pub mod job_tag;
pub mod job_validate;
pub mod join_token;
pub mod namespace_apply;
pub mod namespaces;
pub mod node_detail;
mod node_devices;
pub mod node_eligibility;
pub mod node_meta;
pub mod node_status;
pub mod operator_api;
pub mod operator_autopilot;
pub mod operator_metrics;
pub mod operator_raft;
pub mod operator_scheduler;
pub mod operator_snapshot;
pub mod operator_snapshot_inspect;
pub mod scaling_policy;
pub mod server_join;
pub mod server_members;
pub mod status;
pub mod system;
pub mod tls;
pub mod version;

/// The whole table.
pub const COMMANDS: &[&Command] = &[
    &agent::COMMAND,
    &agent_info::COMMAND,
    &alloc_exec::COMMAND,
    &alloc_fs::COMMAND,
    &alloc_logs::COMMAND,
    &alloc_restart::COMMAND,
    &alloc_signal::COMMAND,
    &alloc_status::COMMAND,
    &alloc_stop::COMMAND,
    &check::COMMAND,
    &deployment_actions::FAIL,
    &deployment_actions::PAUSE,
    &deployment_actions::PROMOTE,
    &deployment_actions::RESUME,
    &deployment_actions::UNBLOCK,
    &deployment_list::COMMAND,
    &deployment_status::COMMAND,
    &eval_list::COMMAND,
    &eval_status::COMMAND,
    &fmt::COMMAND,
    &job_allocs::COMMAND,
    &job_deployments::COMMAND,
    &job_dispatch::COMMAND,
    &job_eval::COMMAND,
    &job_history::COMMAND,
    &job_init::COMMAND,
    &job_inspect::COMMAND,
    &job_periodic_force::COMMAND,
    &job_plan::COMMAND,
    &job_promote::COMMAND,
    &job_revert::COMMAND,
    &job_run::COMMAND,
    &job_scale::COMMAND,
    &job_scaling_events::COMMAND,
    &job_start::COMMAND,
    &job_status::COMMAND,
    &job_stop::COMMAND,
    &job_tag::APPLY,
    &job_tag::UNSET,
    &job_validate::COMMAND,
    &agent_monitor::COMMAND,
    &namespace_apply::COMMAND,
    &namespaces::DELETE,
    &namespaces::INSPECT,
    &namespaces::LIST,
    &namespaces::STATUS,
    &join_token::NODE_CREATE,
    &join_token::NODE_LIST,
    &node_eligibility::COMMAND,
    &node_meta::APPLY,
    &node_meta::READ,
    &node_status::COMMAND,
    &operator_api::COMMAND,
    &operator_autopilot::GET_CONFIG,
    &operator_autopilot::HEALTH,
    &operator_autopilot::SET_CONFIG,
    &operator_metrics::COMMAND,
    &operator_raft::LIST_PEERS,
    &operator_raft::REMOVE_PEER,
    &operator_raft::TRANSFER,
    &operator_scheduler::GET_CONFIG,
    &operator_scheduler::SET_CONFIG,
    &operator_snapshot_inspect::INSPECT,
    &operator_snapshot::RESTORE,
    &operator_snapshot::SAVE,
    &operator_snapshot_inspect::STATE,
    &scaling_policy::INFO,
    &scaling_policy::LIST,
    &server_join::FORCE_LEAVE,
    &server_join::JOIN,
    &join_token::SERVER_CREATE,
    &join_token::SERVER_LIST,
    &server_members::COMMAND,
    &status::COMMAND,
    &system::GC,
    &system::RECONCILE_SUMMARIES,
    &tls::CA_CREATE,
    &tls::CA_INFO,
    &tls::CERT_CREATE,
    &tls::CERT_INFO,
    &version::COMMAND,
];
