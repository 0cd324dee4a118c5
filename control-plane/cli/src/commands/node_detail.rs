//! One node, whole: fields, events, resources given and used, allocs.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_api_client::allocs::AllocStub;
use drover_api_client::nodes::{HostStats, Node};
use drover_api_client::{Client, Error, QueryOptions};
use drover_model::time::format_duration;

use crate::call::{Call, Doing, Outcome};
use crate::commands::node_devices;
use crate::commands::node_status::running;
use crate::output::alloc_table;
use crate::output::quantity::{bytes, mebibytes, percent};
use crate::output::table::{Fields, table};
use crate::output::time::Clock;
use crate::output::ui::Ui;

/// Shows the node of that id.
pub fn show(call: &mut Call, client: &Client, node_id: &str) -> Outcome {
    let answer = client.node(node_id, &QueryOptions::default()).doing("querying node info")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let node = answer.value;
    if call.flags.is_on("quiet") {
        call.ui.out(&node.id);
        return Ok(0);
    }
    let allocs = client.node_allocs(node_id, &QueryOptions::default()).doing("querying node allocations")?.value;
    let is_short = call.flags.is_on("short");
    let stats = if is_short { None } else { host_stats_of(call, client, node_id) };
    let verbose = call.verbose();
    let drivers_title = match (is_short, verbose) {
        (true, _) => Some("Drivers"),
        (false, false) => Some("Driver Status"),
        (false, true) => None,
    };
    call.ui.out(&fields(&node, stats.as_ref(), drivers_title));
    if verbose && !is_short {
        call.ui.section("Drivers", &drivers(&node, &call.ui.clock));
        if !node.host_volumes.is_empty() {
            call.ui.section("Host Volumes", &host_volumes(&node));
        }
        if !node.host_networks.is_empty() {
            call.ui.section("Host Networks", &host_networks(&node));
        }
    }
    if !is_short {
        call.ui.section("Node Events", &events(&node, verbose, &call.ui.clock));
        call.ui.section("Allocated Resources", &allocated(&node, &allocs));
        if let Some(stats) = &stats {
            call.ui.section("Allocation Resource Utilization", &used_by_allocs(client, &node, &allocs));
            call.ui.section("Host Resource Utilization", &used_by_host(&node, stats));
            if let Some(devices) = node_devices::utilization(&node, stats) {
                call.ui.section("Device Resource Utilization", &devices);
            }
            if call.flags.is_on("stats") {
                host_stats(call.ui, stats);
                if let Some(devices) = node_devices::stats(stats) {
                    call.ui.section("Device Stats", &devices);
                }
            }
        }
    }
    call.ui.section("Allocations", &alloc_table::allocs(&allocs, verbose, &call.ui.clock));
    if verbose && !is_short {
        call.ui.section("Attributes", &entries(&node.attributes));
        if let Some(devices) = node_devices::attributes(&node) {
            call.ui.section("Device Group Attributes", &devices);
        }
        call.ui.section("Meta", &entries(&node.meta));
    }
    Ok(0)
}

fn entries(entries: &BTreeMap<String, String>) -> String {
    let mut fields = Fields::new();
    for (key, value) in entries {
        fields.add(key.as_str(), value.as_str());
    }
    fields.text()
}

/// None when they cannot be had: the rest is worth showing without.
fn host_stats_of(call: &mut Call, client: &Client, node_id: &str) -> Option<HostStats> {
    match client.host_stats(node_id) {
        Ok(answer) => Some(answer.value),
        // An agent that does not know the question has nothing to say on it.
        Err(Error::Refused { status: 404, body }) if body.starts_with("no route") => None,
        Err(error) => {
            call.ui.error(&format!("error fetching node stats: {error}"));
            None
        }
    }
}

/// The fields at the top.
/// The drivers stand there under that title; without one, what has sections of its own is left out.
pub fn fields(node: &Node, stats: Option<&HostStats>, drivers_title: Option<&str>) -> String {
    let mut fields = Fields::new();
    fields
        .add("ID", node.id.as_str())
        .add("Name", node.name.as_str())
        .add("Node Pool", node.node_pool.as_str())
        .add("Class", node.node_class.as_str())
        .add("DC", node.datacenter.as_str())
        .add("Drain", node.drain.to_string())
        .add("Eligibility", node.scheduling_eligibility.as_str())
        .add("Status", node.status.as_str())
        .add("CSI Controllers", "")
        .add("CSI Drivers", "");
    if let Some(stats) = stats {
        fields.add("Uptime", format_duration(Duration::from_secs(stats.uptime)));
    }
    if let Some(drivers_title) = drivers_title {
        let joined = |names: Vec<&str>| names.join(",");
        let volumes = node.host_volumes.keys().map(String::as_str).collect();
        let networks = node.host_networks.keys().map(String::as_str).collect();
        let healthy = node.drivers.iter().filter(|(_, driver)| driver.detected && driver.healthy);
        fields
            .add("Host Volumes", joined(volumes))
            .add("Host Networks", joined(networks))
            .add("CSI Volumes", "")
            .add(drivers_title, joined(healthy.map(|(name, _)| name.as_str()).collect()));
    }
    fields.text()
}

fn drivers(node: &Node, clock: &Clock) -> String {
    let rows: Vec<Vec<String>> = node
        .drivers
        .iter()
        .map(|(name, driver)| {
            vec![
                name.clone(),
                driver.detected.to_string(),
                driver.healthy.to_string(),
                driver.health_description.clone(),
                clock.absolute_text(&driver.update_time),
            ]
        })
        .collect();
    table(&["Driver", "Detected", "Healthy", "Message", "Time"], &rows)
}

fn host_volumes(node: &Node) -> String {
    let rows: Vec<Vec<String>> = node
        .host_volumes
        .iter()
        .map(|(name, volume)| vec![name.clone(), volume.read_only.to_string(), volume.path.clone()])
        .collect();
    table(&["Name", "ReadOnly", "Source"], &rows)
}

fn host_networks(node: &Node) -> String {
    let rows: Vec<Vec<String>> = node
        .host_networks
        .iter()
        .map(|(name, network)| {
            vec![name.clone(), network.cidr.clone(), network.interface.clone(), network.reserved_ports.clone()]
        })
        .collect();
    table(&["Name", "CIDR", "Interface", "ReservedPorts"], &rows)
}

fn events(node: &Node, verbose: bool, clock: &Clock) -> String {
    let rows: Vec<Vec<String>> = node
        .events
        .iter()
        .rev()
        .map(|event| {
            let mut row = vec![clock.absolute_text(&event.timestamp), event.subsystem.clone(), event.message.clone()];
            if verbose {
                let details: Vec<String> =
                    event.details.iter().map(|(key, value)| format!("{key} : {value}")).collect();
                row.push(details.join(", "));
            }
            row
        })
        .collect();
    if verbose {
        table(&["Time", "Subsystem", "Message", "Details"], &rows)
    } else {
        table(&["Time", "Subsystem", "Message"], &rows)
    }
}

/// What the node can give: what it has less what it keeps. MHz, MiB, MiB.
fn capacity(node: &Node) -> (i64, i64, i64) {
    let (has, keeps) = (&node.node_resources, &node.reserved_resources);
    (
        has.cpu.cpu_shares - keeps.cpu.cpu_shares,
        has.memory.memory_mib - keeps.memory.memory_mib,
        has.disk.disk_mib - keeps.disk.disk_mib,
    )
}

/// What the allocs that run were given.
pub fn allocated(node: &Node, allocs: &[AllocStub]) -> String {
    let (mut cpu, mut memory, mut disk, mut count) = (0, 0, 0, 0);
    for alloc in running(allocs) {
        count += 1;
        if let Some(resources) = &alloc.allocated_resources {
            disk += resources.shared.disk_mib;
            for task in resources.tasks.values() {
                cpu += task.cpu.cpu_shares;
                memory += task.memory.memory_mib;
            }
        }
    }
    let (cpu_all, memory_all, disk_all) = capacity(node);
    let row = vec![
        format!("{cpu}/{cpu_all} MHz"),
        format!("{}/{}", mebibytes(memory), mebibytes(memory_all)),
        format!("{}/{}", mebibytes(disk), mebibytes(disk_all)),
        count.to_string(),
    ];
    table(&["CPU", "Memory", "Disk", "Alloc Count"], &[row])
}

fn used_by_allocs(client: &Client, node: &Node, allocs: &[AllocStub]) -> String {
    let (mut cpu, mut memory) = (0.0, 0);
    for alloc in running(allocs) {
        // One that has just ended has nothing to say.
        if let Ok(answer) = client.alloc_stats(&alloc.id) {
            cpu += answer.value.resource_usage.cpu_stats.total_ticks;
            memory += answer.value.resource_usage.memory_stats.rss;
        }
    }
    let (cpu_all, memory_all, _) = capacity(node);
    let row = vec![
        format!("{cpu_now}/{cpu_all} MHz", cpu_now = cpu as i64),
        format!("{}/{}", bytes(memory), mebibytes(memory_all)),
    ];
    table(&["CPU", "Memory"], &[row])
}

fn used_by_host(node: &Node, stats: &HostStats) -> String {
    let cpu_all = node.node_resources.cpu.cpu_shares;
    // The disk that holds the allocs; a node that does not say so shows its root.
    let disk = if stats.alloc_dir_stats.size > 0 {
        Some(&stats.alloc_dir_stats)
    } else {
        stats.disk_stats.iter().find(|disk| disk.mountpoint == "/")
    };
    let disk = disk.map(|disk| format!("{}/{}", bytes(disk.used), bytes(disk.size))).unwrap_or_default();
    let row = vec![
        format!("{}/{cpu_all} MHz", stats.cpu_ticks_consumed as i64),
        format!("{}/{}", bytes(stats.memory.used), bytes(stats.memory.total)),
        disk,
    ];
    table(&["CPU", "Memory", "Disk"], &[row])
}

fn host_stats(ui: &mut Ui, stats: &HostStats) {
    let blocks = stats.cpu.iter().map(|cpu| {
        let mut fields = Fields::new();
        fields
            .add("CPU", cpu.cpu.as_str())
            .add("User", percent(cpu.user))
            .add("System", percent(cpu.system))
            .add("Idle", percent(cpu.idle));
        fields.text()
    });
    ui.section("CPU Stats", &blocks.collect::<Vec<_>>().join("\n\n"));
    let mut memory = Fields::new();
    memory
        .add("Total", bytes(stats.memory.total))
        .add("Available", bytes(stats.memory.available))
        .add("Used", bytes(stats.memory.used))
        .add("Free", bytes(stats.memory.free));
    ui.section("Memory Stats", &memory.text());
    let blocks = stats.disk_stats.iter().map(|disk| {
        let mut fields = Fields::new();
        fields
            .add("Device", disk.device.as_str())
            .add("MountPoint", disk.mountpoint.as_str())
            .add("Size", bytes(disk.size))
            .add("Used", bytes(disk.used))
            .add("Available", bytes(disk.available))
            .add("Used Percent", percent(disk.used_percent))
            .add("Inodes Percent", percent(disk.inodes_used_percent));
        fields.text()
    });
    ui.section("Disk Stats", &blocks.collect::<Vec<_>>().join("\n\n"));
}
