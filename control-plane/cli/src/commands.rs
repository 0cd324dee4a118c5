//! The commands, one per file: arguments and settings, calls to the agent, output.

use crate::grammar::Command;

pub mod job_file;
pub mod monitor;
pub mod resolve;

pub mod agent;
pub mod agent_info;
pub mod alloc_logs;
pub mod alloc_status;
pub mod deployment_list;
pub mod deployment_status;
pub mod eval_list;
pub mod eval_status;
pub mod job_allocs;
pub mod job_history;
pub mod job_init;
pub mod job_inspect;
pub mod job_plan;
pub mod job_run;
pub mod job_status;
pub mod job_stop;
pub mod job_validate;
pub mod join_token;
pub mod node_detail;
pub mod node_status;
pub mod server_members;
pub mod status;
pub mod version;

/// The whole table.
pub const COMMANDS: &[&Command] = &[
    &agent::COMMAND,
    &agent_info::COMMAND,
    &alloc_logs::COMMAND,
    &alloc_status::COMMAND,
    &deployment_list::COMMAND,
    &deployment_status::COMMAND,
    &eval_list::COMMAND,
    &eval_status::COMMAND,
    &job_allocs::COMMAND,
    &job_history::COMMAND,
    &job_init::COMMAND,
    &job_inspect::COMMAND,
    &job_plan::COMMAND,
    &job_run::COMMAND,
    &job_status::COMMAND,
    &job_stop::COMMAND,
    &job_validate::COMMAND,
    &join_token::NODE_CREATE,
    &join_token::NODE_LIST,
    &node_status::COMMAND,
    &server_members::COMMAND,
    &status::COMMAND,
    &version::COMMAND,
];
