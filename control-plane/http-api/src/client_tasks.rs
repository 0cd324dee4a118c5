//! What people do with running tasks, and what a node uses: asked of the edge that has them.

use std::collections::BTreeMap;

use drover_model::{AllocId, NodeId};
use drover_server::edge_reads::{CpuStats, DeviceGroupStats, DeviceState, DiskStats, NodeMeta};
use serde_json::{Value, json};

use crate::allocs::LOOKED_UP;
use crate::call::Call;
use crate::ids;
use crate::problem::{self, Problem};
use crate::reply::Reply;

pub(crate) async fn restart(mut call: Call) -> Result<Reply, Problem> {
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    let fields = call.take_optional_fields().await.map_err(|problem| Problem::Failed(problem.text().to_owned()))?;
    let (task, all) = match &fields {
        Some(fields) => (fields.text("TaskName")?.to_owned(), fields.flag("AllTasks")?),
        None => (String::new(), false),
    };
    call.api.server.restart_tasks(id, task, all).await?;
    call.plain(&json!({"Index": 0}))
}

pub(crate) async fn signal(mut call: Call) -> Result<Reply, Problem> {
    let undecoded = |problem: Problem| Problem::Invalid(format!("Failed to decode body: {}", problem.text()));
    let fields = call.take_fields().await.map_err(undecoded)?;
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    let (task, signal) = (fields.text("Task")?.to_owned(), fields.text("Signal")?.to_owned());
    call.api.server.signal_tasks(id, task, signal).await?;
    call.plain(&json!({"Index": 0}))
}

pub(crate) async fn collect_alloc(call: Call) -> Result<Reply, Problem> {
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    call.api.server.collect_alloc(id).await?;
    Ok(problem::done())
}

pub(crate) async fn collect_allocs(call: Call) -> Result<Reply, Problem> {
    let node_id = asked_node(&call)?;
    call.api.server.collect_allocs_of_node(node_id).await.map_err(of_node)?;
    Ok(problem::done())
}

/// What some routes make of a node that is not known.
fn of_node(error: drover_server::Error) -> Problem {
    match Problem::from(error) {
        problem if problem.text().starts_with("Unknown node ") => Problem::Failed(problem.text().to_owned()),
        problem => problem,
    }
}

pub(crate) async fn read_meta(call: Call) -> Result<Reply, Problem> {
    let node_id = asked_node(&call)?;
    let meta = call.api.server.node_meta(node_id).await.map_err(of_node)?;
    shown_meta(&call, &meta)
}

pub(crate) async fn apply_meta(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let missing = || Problem::Invalid("missing required Meta object".to_owned());
    let entries = fields.get("Meta").and_then(Value::as_object).ok_or_else(missing)?;
    let entry = |(key, value): (&String, &Value)| match value {
        Value::Null => Ok((key.clone(), None)),
        Value::String(value) => Ok((key.clone(), Some(value.clone()))),
        _ => Err(Problem::Invalid(format!("Meta: {key:?} must be text or null"))),
    };
    let meta = entries.iter().map(entry).collect::<Result<BTreeMap<_, _>, _>>()?;
    let node_id = match fields.text("NodeID")? {
        "" => asked_node(&call)?,
        given => ids::parse(given, "node lookup failed")?,
    };
    let meta = call.api.server.apply_node_meta(node_id, meta).await.map_err(of_node)?;
    shown_meta(&call, &meta)
}

fn shown_meta(call: &Call, meta: &NodeMeta) -> Result<Reply, Problem> {
    call.plain(&json!({"Dynamic": meta.dynamic, "Meta": meta.meta, "Static": meta.fixed}))
}

/// The node that a request is about: the one it names, or this agent's own.
fn asked_node(call: &Call) -> Result<NodeId, Problem> {
    match (call.query.text("node_id"), call.api.agent.node_id) {
        ("", Some(own)) => Ok(own),
        ("", None) => Err(Problem::Invalid("No local Node and node_id not provided".to_owned())),
        (given, _) => ids::parse(given, "node lookup failed"),
    }
}

pub(crate) async fn host_stats(call: Call) -> Result<Reply, Problem> {
    let node_id = asked_node(&call)?;
    let stats = call.api.server.node_stats(node_id).await?;
    let devices: Vec<Value> = stats.devices.iter().map(|group| devices(group, &json!(stats.at.to_rfc3339()))).collect();
    call.plain(&json!({
        "AllocDirStats": disk(&stats.alloc_dir),
        "CPU": stats.cpus.iter().map(cpu).collect::<Vec<_>>(),
        "CPUTicksConsumed": stats.cpu_ticks_mhz,
        "DeviceStats": if devices.is_empty() { Value::Null } else { devices.into() },
        "DiskStats": stats.disks.iter().map(disk).collect::<Vec<_>>(),
        "Memory": {
            "Available": stats.memory_available_bytes,
            "Free": stats.memory_free_bytes,
            "Total": stats.memory_total_bytes,
            "Used": stats.memory_used_bytes,
        },
        "Timestamp": stats.at,
        "Uptime": stats.uptime_s,
    }))
}

/// Nothing is measured: what is said are words, each under its name.
fn devices(group: &DeviceGroupStats, at: &Value) -> Value {
    let instance = |(id, state): (&String, &DeviceState)| {
        let word = |(name, text): (&String, &String)| (name.clone(), json!({ "Desc": name, "StringVal": text }));
        let attributes: BTreeMap<String, Value> = state.stats.iter().map(word).collect();
        let stats = json!({
            "Stats": { "Attributes": attributes, "Nested": null },
            "Summary": { "Desc": "State", "StringVal": state.summary },
            "Timestamp": at,
        });
        (id.clone(), stats)
    };
    let instances: BTreeMap<String, Value> = group.instances.iter().map(instance).collect();
    json!({ "InstanceStats": instances, "Name": group.name, "Type": group.kind, "Vendor": group.vendor })
}

fn cpu(cpu: &CpuStats) -> Value {
    json!({
        "CPU": cpu.name, "Idle": cpu.idle, "System": cpu.system, "TotalPercent": cpu.total,
        "TotalTicks": cpu.ticks_mhz, "User": cpu.user,
    })
}

fn disk(disk: &DiskStats) -> Value {
    json!({
        "Available": disk.available_bytes, "Device": disk.device, "InodesUsedPercent": disk.inodes_used_percent,
        "Mountpoint": disk.mount_point, "Size": disk.size_bytes, "Used": disk.used_bytes,
        "UsedPercent": disk.used_percent,
    })
}
