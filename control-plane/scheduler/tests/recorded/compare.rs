//! Compares what came of a step with what was recorded. Zeros and empty maps count as left out.

use std::collections::BTreeMap;

use drover_model::alloc::Alloc;
use drover_model::eval::Eval;
use drover_model::job::JobType;
use drover_model::metric::AllocMetric;
use drover_model::{AllocId, JobKey};
use drover_scheduler::{Outcome, annotations};
use serde_json::{Map, Value, json};

use crate::replay::Replay;

/// How far a score may be from the recorded one.
const SCORE_TOLERANCE: f64 = 1e-9;

type Scores = Vec<(f64, Vec<f64>)>;

/// Drops zeros, empties and what is not compared, at every depth.
fn bare(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let skipped = |key: &str| matches!(key, "ScoreMetaData" | "NodePool" | "AllocationTime");
            let kept = map.iter().filter(|(key, _)| !skipped(key)).map(|(key, value)| (key.clone(), bare(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn differ(what: &str, recorded: &Value, ours: &Value, out: &mut Vec<String>) {
    let (recorded, ours) = (bare(recorded), bare(ours));
    if recorded != ours && !(is_nothing(&recorded) && is_nothing(&ours)) {
        out.push(format!("{what}\n  recorded {recorded}\n  ours     {ours}"));
    }
}

/// The plan that was taken before a registration.
pub fn plan(recorded: &Value, outcome: &Outcome) -> Vec<String> {
    let mut out = Vec::new();
    if recorded.is_null() || recorded.get("error").is_some() {
        return out;
    }
    let desired = outcome.plan.annotations.as_ref().map(|annotations| json!(annotations.desired_group_updates));
    differ("plan", &recorded["DesiredTGUpdates"], &desired.unwrap_or_default(), &mut out);
    let words: BTreeMap<&String, _> = outcome
        .plan
        .annotations
        .iter()
        .flat_map(|annotations| &annotations.desired_group_updates)
        .map(|(group, desired)| (group, annotations::group_updates(desired)))
        .collect();
    differ("plan words", &recorded["GroupUpdates"], &json!(words), &mut out);
    let mut failed = recorded["FailedTGAllocs"].clone();
    for filtered in failed.as_object_mut().into_iter().flat_map(|groups| groups.values_mut()) {
        name_reasons(&mut filtered["ConstraintFiltered"]);
    }
    differ("plan failed", &failed, &json!(outcome.eval.failed_group_allocs), &mut out);
    out
}

/// A class that was refused once is counted there as `computed class ineligible`; drover keeps the reason.
fn name_reasons(filtered: &mut Value) {
    let Some(counts) = filtered.as_object_mut() else { return };
    let unnamed = counts.remove("computed class ineligible").and_then(|count| count.as_i64()).unwrap_or(0);
    if let Some(count) = counts.values_mut().next() {
        *count = json!(count.as_i64().unwrap_or(0) + unnamed);
    }
}

/// Cases of system jobs name the nodes instead of the allocs.
pub fn system(step: &Value, outcome: &Outcome) -> Vec<String> {
    let mut out = Vec::new();
    if step["placed_on"].is_array() {
        let mut nodes: Vec<&str> = outcome.plan.placements.iter().map(|alloc| alloc.node_name.as_str()).collect();
        nodes.sort_unstable();
        let job = step["job"]["ID"].as_str().unwrap_or_default();
        differ(&format!("{job} placed on"), &step["placed_on"], &json!(nodes), &mut out);
        let filtered = |metrics: &Value| metrics["g"]["ConstraintFiltered"].clone();
        let ours = json!(outcome.eval.failed_group_allocs);
        differ(job, &filtered(&step["eval"]["FailedTGAllocs"]), &filtered(&ours), &mut out);
    }
    out
}

/// The evals and allocs that changed since an index.
pub fn changes(replay: &Replay, before: u64, evals: &[Value], allocs: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    let changed: Vec<&Eval> =
        replay.state.evals().filter(|eval| eval.modify_index > before).map(|eval| &**eval).collect();
    for recorded in evals {
        // Watchers and per-node chains come at another time here.
        if recorded["TriggeredBy"] == "deployment-watcher" || recorded.get("node").is_some() {
            continue;
        }
        let is_it = |eval: &&&Eval| {
            recorded["job"] == eval.job_id.as_str()
                && recorded["TriggeredBy"] == eval.triggered_by.as_str()
                && recorded["Status"] == eval.status.as_str()
        };
        match changed.iter().find(is_it) {
            Some(ours) => eval(replay, recorded, ours, &mut out),
            None => out.push(format!("no eval like {}", bare(recorded))),
        }
    }
    let system_order = allocs.iter().any(|alloc| alloc["metrics"]["NodesEvaluated"] == 1);
    for recorded in allocs {
        let label = recorded["alloc"].as_str().unwrap();
        match replay.labels.get(label).and_then(|id| replay.state.alloc(*id)) {
            Some(_) if system_order => {}
            Some(ours) => alloc(replay, label, recorded, ours, &mut out),
            None => out.push(format!("no alloc {label}")),
        }
    }
    let made = replay.labels.values().filter_map(|id| replay.state.alloc(*id));
    let made = made.filter(|alloc| alloc.create_index > before).count();
    let expected = allocs.iter().filter(|alloc| alloc["new"] == true).count();
    if made != expected && !allocs.is_empty() {
        out.push(format!("{expected} allocs recorded as new, {made} made"));
    }
    out
}

fn eval(replay: &Replay, recorded: &Value, ours: &Eval, out: &mut Vec<String>) {
    let what = format!("eval {} {}", ours.triggered_by.as_str(), ours.status.as_str());
    differ(&what, &recorded["FailedTGAllocs"], &json!(ours.failed_group_allocs), out);
    differ(&what, &recorded["QueuedAllocations"], &json!(ours.queued_allocations), out);
    differ(&what, &recorded["EscapedComputedClass"], &json!(ours.escaped_computed_class), out);
    if recorded["Status"] == "blocked" {
        let eligible = ours.class_eligibility.values().filter(|eligible| **eligible).count();
        let counts = json!({
            "eligible_classes": eligible,
            "ineligible_classes": ours.class_eligibility.len() - eligible,
        });
        differ(&what, &recorded["ClassEligibility"], &counts, out);
        differ(&what, &recorded["StatusDescription"], &json!(ours.status_description), out);
    }
    // The blocked evals of system jobs are one per node there, one per job here.
    let is_system = replay.state.job(&ours.job_key()).is_some_and(|job| job.kind == JobType::System);
    if recorded["Status"] == "complete" && !is_system {
        let is_blocked = json!(ours.blocked_eval.is_some());
        differ(&format!("{what} blocked eval"), &recorded["BlockedEval"], &is_blocked, out);
    }
}

fn alloc(replay: &Replay, label: &str, recorded: &Value, ours: &Alloc, out: &mut Vec<String>) {
    // n5 and n6 have the same free totals: which of them is taken is a matter of luck.
    let node = |name: &str| if name == "n6" { "n5".to_owned() } else { name.to_owned() };
    let link = |id: Option<AllocId>| {
        let label = replay.labels.iter().find(|(_, known)| Some(**known) == id);
        label.map(|(label, _)| label.clone()).unwrap_or_default()
    };
    let view = json!({
        "node": node(&ours.node_name),
        "JobVersion": ours.job_version,
        "DesiredStatus": ours.desired_status.as_str(),
        "DesiredDescription": ours.desired_description,
        "NextAllocation": link(ours.next_allocation),
        "PreviousAllocation": link(ours.previous_allocation.filter(|_| recorded["new"] == true)),
        "Canary": ours.is_canary(),
    });
    let mut wanted = recorded.as_object().unwrap().clone();
    wanted.retain(|key, _| view.get(key).is_some());
    wanted.insert("node".to_owned(), json!(node(recorded["node"].as_str().unwrap())));
    differ(label, &Value::Object(wanted), &view, out);
    ports(label, recorded, ours, out);
    if recorded["metrics"].is_object() {
        differ(label, &recorded["metrics"], &json!(ours.metrics), out);
        scores(label, &recorded["metrics"], &ours.metrics, out);
    }
}

fn ports(label: &str, recorded: &Value, ours: &Alloc, out: &mut Vec<String>) {
    let Some(recorded) = recorded["ports"].as_array() else {
        return;
    };
    let view = |label: &str, value: i64, to: i64, address: &str| {
        let is_dynamic = (20_000..=32_000).contains(&value);
        json!([label, if is_dynamic { 0 } else { value }, if to == value { -1 } else { to }, address])
    };
    let read = |port: &Value| {
        let number = |key: &str| port[key].as_i64().unwrap_or(0);
        view(port["Label"].as_str().unwrap(), number("Value"), number("To"), port["HostIP"].as_str().unwrap())
    };
    let recorded: Vec<Value> = recorded.iter().map(read).collect();
    let given = &ours.allocated_resources.shared.ports;
    let ours: Vec<Value> =
        given.iter().map(|port| view(&port.label, port.value.into(), port.to.into(), &port.host_ip)).collect();
    if recorded != ours {
        out.push(format!("{label} ports\n  recorded {recorded:?}\n  ours     {ours:?}"));
    }
}

/// Compares the best scores without the names of the nodes, since equal ones may stand in any order.
fn scores(label: &str, recorded: &Value, ours: &AllocMetric, out: &mut Vec<String>) {
    let list = recorded["ScoreMetaData"].as_array().cloned().unwrap_or_default();
    let recorded: Scores = list
        .iter()
        .map(|row| {
            let scores: BTreeMap<String, f64> = serde_json::from_value(row["Scores"].clone()).unwrap();
            (row["NormScore"].as_f64().unwrap(), scores.into_values().collect())
        })
        .collect();
    let ours: Scores = ours
        .score_meta_data
        .iter()
        .map(|row| (row.norm_score, row.scores.iter().map(|(_, value)| value).collect()))
        .collect();
    let near = |a: f64, b: f64| (a - b).abs() < SCORE_TOLERANCE;
    let same = recorded.len() == ours.len()
        && recorded
            .iter()
            .zip(&ours)
            .all(|(a, b)| near(a.0, b.0) && a.1.len() == b.1.len() && a.1.iter().zip(&b.1).all(|(a, b)| near(*a, *b)));
    if !same {
        out.push(format!("{label} scores\n  recorded {recorded:?}\n  ours     {ours:?}"));
    }
}

/// The counts and the status of the job's latest deployment.
pub fn deployment(replay: &Replay, key: &JobKey, recorded: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let Some(ours) = replay.state.latest_deployment(key) else {
        if !recorded.is_null() {
            out.push("no deployment".to_owned());
        }
        return out;
    };
    let groups: BTreeMap<&String, Value> = ours
        .task_groups
        .iter()
        .map(|(name, group)| {
            let mut group_view = json!(group);
            group_view["PlacedCanaries"] = json!(group.placed_canaries.len());
            group_view["ProgressDeadline"] = Value::Null;
            group_view["RequireProgressBy"] = Value::Null;
            (name, group_view)
        })
        .collect();
    let view = json!({
        "Status": ours.status.as_str(),
        "StatusDescription": ours.status_description,
        "JobVersion": ours.job_version,
        "TaskGroups": groups,
    });
    differ("deployment", recorded, &view, &mut out);
    out
}
