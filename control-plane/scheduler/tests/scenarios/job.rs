//! The jobs of scenarios: one group `g` with one task, changed by `key=value` words.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::constraint::Constraint;
use drover_model::device::DeviceRequest;
use drover_model::group::Group;
use drover_model::job::{Job, JobType};
use drover_model::network::{Network, Port};
use drover_model::policy::{ReschedulePolicy, UpdateStrategy};
use drover_model::task::Task;

/// The job that the words describe.
pub fn job(name: &str, options: &BTreeMap<&str, &str>) -> Job {
    let text = |key: &str| options.get(key).copied();
    let number = |key: &str, default: i64| text(key).map_or(default, |text| text.parse().unwrap());
    let kind = match text("type").unwrap_or("service") {
        "batch" => JobType::Batch,
        "system" => JobType::System,
        "sysbatch" => JobType::SysBatch,
        _ => JobType::Service,
    };
    let mut task =
        Task { name: "t".to_owned(), driver: text("driver").unwrap_or("raw_exec").to_owned(), ..Task::default() };
    task.resources.cpu_mhz = number("cpu", 100);
    task.resources.memory_mib = number("memory", 100);
    task.env = BTreeMap::from([("V".to_owned(), text("env").unwrap_or_default().to_owned())]);
    // `gpu:2`
    if let Some(asked) = text("device") {
        let (name, count) = asked.split_once(':').unwrap_or((asked, "1"));
        let request =
            DeviceRequest { name: name.to_owned(), count: count.parse().unwrap(), ..DeviceRequest::default() };
        task.resources.devices = vec![request];
    }
    task.kill_timeout = Duration::from_secs(number("kill_timeout", 5) as u64);
    let constraints = match text("class") {
        Some(class) => {
            vec![Constraint { left: "${node.class}".to_owned(), operand: "=".to_owned(), right: class.to_owned() }]
        }
        None if text("distinct").is_some() => {
            vec![Constraint { operand: "distinct_hosts".to_owned(), ..Constraint::default() }]
        }
        None => Vec::new(),
    };
    let port = |value| Port { label: "http".to_owned(), value, ..Port::default() };
    let networks = match text("port") {
        Some("dynamic") => vec![Network { dynamic_ports: vec![port(0)], ..Network::default() }],
        Some(value) => vec![Network { reserved_ports: vec![port(value.parse().unwrap())], ..Network::default() }],
        None => Vec::new(),
    };
    let policy = ReschedulePolicy {
        delay: Duration::from_secs(5),
        delay_function: text("reschedule").unwrap_or("constant").to_owned(),
        interval: Duration::from_secs(600),
        max_delay: Duration::from_secs(60),
        attempts: number("attempts", 0),
        unlimited: text("attempts").is_none(),
    };
    // `data`, `data:ro`, `data:each`
    let volumes = text("volume").map(|volume| {
        let (source, how) = volume.split_once(':').unwrap_or((volume, ""));
        let asked = serde_json::json!({
            "Name": "v", "Type": "host", "Source": source, "ReadOnly": how == "ro", "PerAlloc": how == "each",
        });
        BTreeMap::from([("v".to_owned(), asked)])
    });
    let group = Group {
        name: "g".to_owned(),
        volumes,
        count: number("count", 1),
        constraints,
        networks,
        tasks: vec![task],
        reschedule_policy: matches!(kind, JobType::Service | JobType::Batch).then_some(policy),
        update: text("max_parallel").map(|_| UpdateStrategy {
            max_parallel: number("max_parallel", 0),
            canary: number("canary", 0),
            ..UpdateStrategy::default()
        }),
        ..Group::default()
    };
    Job {
        namespace: "default".into(),
        id: name.into(),
        name: name.to_owned(),
        kind,
        priority: 50,
        node_pool: "default".to_owned(),
        datacenters: vec!["*".to_owned()],
        task_groups: vec![group],
        ..Job::default()
    }
}
