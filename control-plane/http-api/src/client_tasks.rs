//! What people do with running tasks, and what a node uses: asked of the edge that has them.

use drover_model::{AllocId, NodeId};
use drover_server::edge_reads::{CpuStats, DiskStats};
use serde_json::{Value, json};

use crate::allocs::LOOKED_UP;
use crate::call::Call;
use crate::ids;
use crate::problem::Problem;
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

pub(crate) async fn host_stats(call: Call) -> Result<Reply, Problem> {
    let node_id: NodeId = match (call.query.text("node_id"), call.api.agent.node_id) {
        ("", Some(own)) => own,
        ("", None) => return Err(Problem::Invalid("No local Node and node_id not provided".to_owned())),
        (given, _) => ids::parse(given, "node lookup failed")?,
    };
    let stats = call.api.server.node_stats(node_id).await?;
    call.plain(&json!({
        "AllocDirStats": disk(&stats.alloc_dir),
        "CPU": stats.cpus.iter().map(cpu).collect::<Vec<_>>(),
        "CPUTicksConsumed": stats.cpu_ticks_mhz,
        "DeviceStats": null,
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
