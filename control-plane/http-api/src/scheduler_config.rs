//! The settings of the region's scheduler.

use drover_server::{PreemptionConfig, SchedulerAlgorithm, SchedulerConfig, Watch};
use drover_state::Table;
use serde_json::{Value, json};

use crate::blocking::{Seen, read};
use crate::body::Fields;
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn show(call: Call) -> Result<Reply, Problem> {
    read(&call, &[Watch::Table(Table::SchedulerConfig)], |reading, _| {
        let config = reading.snapshot.scheduler_config();
        let index = config.modify_index.max(1);
        let body = json!({
            "Index": index,
            "KnownLeader": reading.known_leader,
            "LastContact": u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX),
            "NextToken": "",
            "SchedulerConfig": shown(config),
        });
        Seen::value(index, &body, &call)
    })
    .await
}

fn shown(config: &SchedulerConfig) -> Value {
    let preemption = &config.preemption;
    json!({
        "CreateIndex": config.create_index,
        "MemoryOversubscriptionEnabled": config.has_memory_oversubscription,
        "ModifyIndex": config.modify_index,
        "NodeLimitForFeasibilityChecks": config.node_limit,
        "PauseEvalBroker": config.is_paused,
        "PreemptionConfig": {
            "BatchSchedulerEnabled": preemption.for_batch,
            "ServiceSchedulerEnabled": preemption.for_service,
            "SysBatchSchedulerEnabled": preemption.for_sysbatch,
            "SystemSchedulerEnabled": preemption.for_system,
        },
        "RejectJobRegistration": config.rejects_jobs,
        "SchedulerAlgorithm": config.algorithm.as_str(),
    })
}

pub(crate) async fn set(mut call: Call) -> Result<Reply, Problem> {
    let cas = match call.query.text("cas") {
        "" => None,
        text => Some(text.parse::<u64>().map_err(|_| {
            Problem::Invalid(format!("Error parsing cas value: strconv.ParseUint: parsing {text:?}: invalid syntax"))
        })?),
    };
    let unreadable = |problem: Problem| match problem {
        Problem::Invalid(text) => Problem::Invalid(format!("Error parsing scheduler config: {text}")),
        other => other,
    };
    let fields = call.take_fields().await.map_err(unreadable)?;
    let word = fields.text("SchedulerAlgorithm").map_err(unreadable)?;
    let algorithm = SchedulerAlgorithm::from_word(word)
        .ok_or_else(|| Problem::Invalid(format!("invalid scheduler algorithm: {word}")))?;
    let config = config_of(&fields, algorithm).map_err(unreadable)?;
    let updated = call.api.server.set_scheduler_config(config, cas).await?;
    let index = call.api.server.reading().snapshot.scheduler_config().modify_index;
    call.plain(&json!({ "Index": index, "Updated": updated }))
}

/// The whole object: what is left out becomes nothing.
fn config_of(fields: &Fields, algorithm: SchedulerAlgorithm) -> Result<SchedulerConfig, Problem> {
    let preemption = fields.object("PreemptionConfig")?.unwrap_or_default();
    Ok(SchedulerConfig {
        algorithm,
        has_memory_oversubscription: fields.flag("MemoryOversubscriptionEnabled")?,
        rejects_jobs: fields.flag("RejectJobRegistration")?,
        is_paused: fields.flag("PauseEvalBroker")?,
        preemption: PreemptionConfig {
            for_system: preemption.flag("SystemSchedulerEnabled")?,
            for_sysbatch: preemption.flag("SysBatchSchedulerEnabled")?,
            for_batch: preemption.flag("BatchSchedulerEnabled")?,
            for_service: preemption.flag("ServiceSchedulerEnabled")?,
        },
        node_limit: i64::try_from(fields.number("NodeLimitForFeasibilityChecks")?.unwrap_or_default())
            .unwrap_or(i64::MAX),
        ..SchedulerConfig::default()
    })
}
