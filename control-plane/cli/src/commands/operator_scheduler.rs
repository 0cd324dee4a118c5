//! `drover operator scheduler get-config`

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Outcome};
use crate::flags::{switch, text};
use crate::grammar::Command;

/// How allocations are placed.
pub const GET_CONFIG: Command = Command {
    path: "operator scheduler get-config",
    summary: "Show how the scheduler places allocations",
    flags: &[switch("json", "JSON."), text("t", "template", "The answer through a Go template.")],
    run: get_config,
    ..Command::BASE
};

fn get_config(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let answer = call.client()?.read::<Value>("/v1/operator/scheduler/configuration", &QueryOptions::default());
    let answer = answer.doing("querying scheduler configuration")?.value;
    if call.wants_data() {
        return call.print_data(&answer);
    }
    let config = &answer["SchedulerConfig"];
    let preemption = &config["PreemptionConfig"];
    let rows = [
        ("Scheduler Algorithm", &config["SchedulerAlgorithm"]),
        ("Memory Oversubscription", &config["MemoryOversubscriptionEnabled"]),
        ("Reject Job Registration", &config["RejectJobRegistration"]),
        ("Pause Eval Broker", &config["PauseEvalBroker"]),
        ("Preemption System Scheduler", &preemption["SystemSchedulerEnabled"]),
        ("Preemption Service Scheduler", &preemption["ServiceSchedulerEnabled"]),
        ("Preemption Batch Scheduler", &preemption["BatchSchedulerEnabled"]),
        ("Preemption SysBatch Scheduler", &preemption["SysBatchSchedulerEnabled"]),
        ("Node Limit For Feasibility Checks", &config["NodeLimitForFeasibilityChecks"]),
        ("Modify Index", &config["ModifyIndex"]),
    ];
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<33} = {}", plain(value))).collect();
    call.ui.out(&lines.join("\n"));
    Ok(0)
}
