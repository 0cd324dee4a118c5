//! `drover operator scheduler get-config|set-config`

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Outcome, fail};
use crate::flags::{number, switch, text, truth};
use crate::grammar::Command;
use crate::output::text::quote;

const CONFIG: &str = "/v1/operator/scheduler/configuration";

/// Flags that turn something on or off, with the part of the settings that it is in (empty for their top) and its name.
const SWITCHES: [(&str, &str, &str); 7] = [
    ("memory-oversubscription", "", "MemoryOversubscriptionEnabled"),
    ("reject-job-registration", "", "RejectJobRegistration"),
    ("pause-eval-broker", "", "PauseEvalBroker"),
    ("preempt-batch-scheduler", "PreemptionConfig", "BatchSchedulerEnabled"),
    ("preempt-service-scheduler", "PreemptionConfig", "ServiceSchedulerEnabled"),
    ("preempt-sysbatch-scheduler", "PreemptionConfig", "SysBatchSchedulerEnabled"),
    ("preempt-system-scheduler", "PreemptionConfig", "SystemSchedulerEnabled"),
];

/// How allocations shall be placed.
pub const SET_CONFIG: Command = Command {
    path: "operator scheduler set-config",
    summary: "Change how the scheduler places allocations",
    about: "What is not named stays as it is. Preemption and the node limit are kept and shown, and have no effect yet: \
            nothing is preempted, and every node is looked at.",
    flags: &[
        text("check-index", "index", "Only when the settings still have this modify index."),
        text("scheduler-algorithm", "binpack|spread", "Fill nodes up, or spread allocations over them."),
        text("memory-oversubscription", "true|false", "Tasks may have more memory than is kept for them: memory_max."),
        text("reject-job-registration", "true|false", "Take no new jobs, dispatches and scalings."),
        text("pause-eval-broker", "true|false", "Schedule nothing; evaluations wait."),
        text("preempt-batch-scheduler", "true|false", "Kept only."),
        text("preempt-service-scheduler", "true|false", "Kept only."),
        text("preempt-sysbatch-scheduler", "true|false", "Kept only."),
        text("preempt-system-scheduler", "true|false", "Kept only."),
        number("node-limit-for-feasibility-checks", "Kept only."),
    ],
    run: set_config,
    ..Command::BASE
};

fn set_config(call: &mut Call) -> Outcome {
    call.no_args()?;
    let check_index = match call.flags.text("check-index") {
        "" => 0,
        text => match text.parse::<u64>() {
            Ok(index) => index,
            Err(_) => {
                let why = format!("strconv.ParseUint: parsing {0}: invalid syntax", quote(text));
                return fail(format!("Error parsing check-index value {}: {why}", quote(text)));
            }
        },
    };
    let client = call.client()?;
    let answer = client.read::<Value>(CONFIG, &QueryOptions::default());
    let mut config = answer.doing("querying for scheduler configuration")?.value["SchedulerConfig"].take();
    let index = config["ModifyIndex"].as_u64().unwrap_or_default();
    if check_index > 0 && check_index != index {
        let why = format!("check-index {check_index} does not match does not match current state value {index}");
        return fail(format!("Error performing check index set: {why}"));
    }
    match call.flags.text("scheduler-algorithm") {
        "" => {}
        word => config["SchedulerAlgorithm"] = word.into(),
    }
    for (flag, part, name) in SWITCHES {
        let is_on = match call.flags.text(flag) {
            "" => continue,
            text => match truth(text) {
                Some(is_on) => is_on,
                None => return fail(format!("invalid boolean value {} for -{flag}", quote(text))),
            },
        };
        let place = if part.is_empty() { &mut config } else { &mut config[part] };
        place[name] = is_on.into();
        if is_on && !part.is_empty() {
            call.ui.error(&format!("-{flag} is kept and has no effect yet: nothing is preempted"));
        }
    }
    if let Some(limit) = call.flags.number("node-limit-for-feasibility-checks") {
        config["NodeLimitForFeasibilityChecks"] = limit.into();
    }
    // Somebody else may have changed it meanwhile.
    let options = QueryOptions::default().with("cas", index.to_string());
    let answer = client.write::<Value>(CONFIG, &config, &options).doing("setting scheduler configuration")?.value;
    if answer["Updated"] != true {
        return fail("Scheduler configuration could not be atomically updated, please try again");
    }
    call.ui.out("Scheduler configuration updated!");
    Ok(0)
}

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
    let answer = call.client()?.read::<Value>(CONFIG, &QueryOptions::default());
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
