//! Evals in tables.

use drover_api_client::evals::{Eval, EvalStub};

use crate::output::table::table;
use crate::output::text::id;

/// What is known of the placements: an eval that is not done has no answer yet.
pub fn placement_failures(eval: &Eval) -> String {
    match eval.status.as_str() {
        "pending" | "blocked" => "N/A - In Progress".to_owned(),
        _ => (!eval.failed_group_allocs.is_empty()).to_string(),
    }
}

/// Evals of any job.
pub fn evals(evals: &[Eval], verbose: bool) -> String {
    let rows: Vec<Vec<String>> = newest_first(evals)
        .into_iter()
        .map(|eval| {
            vec![
                id(&eval.id, verbose),
                eval.priority.to_string(),
                eval.triggered_by.clone(),
                eval.job_id.clone(),
                eval.namespace.clone(),
                id(&eval.node_id, verbose),
                eval.status.clone(),
                placement_failures(eval),
            ]
        })
        .collect();
    table(&["ID", "Priority", "Triggered By", "Job ID", "Namespace", "Node ID", "Status", "Placement Failures"], &rows)
}

/// Evals beneath their job.
pub fn of_job(evals: &[Eval], verbose: bool) -> String {
    let rows: Vec<Vec<String>> = newest_first(evals)
        .into_iter()
        .map(|eval| {
            vec![
                id(&eval.id, verbose),
                eval.priority.to_string(),
                eval.triggered_by.clone(),
                eval.status.clone(),
                placement_failures(eval),
            ]
        })
        .collect();
    table(&["ID", "Priority", "Triggered By", "Status", "Placement Failures"], &rows)
}

/// Evals beside another one.
pub fn related(evals: &[EvalStub], verbose: bool) -> String {
    let mut sorted: Vec<&EvalStub> = evals.iter().collect();
    sorted.sort_by_key(|eval| eval.create_index);
    let rows: Vec<Vec<String>> = sorted
        .into_iter()
        .map(|eval| {
            vec![
                id(&eval.id, verbose),
                eval.priority.to_string(),
                eval.triggered_by.clone(),
                id(&eval.node_id, verbose),
                eval.status.clone(),
                eval.status_description.clone(),
            ]
        })
        .collect();
    table(&["ID", "Priority", "Triggered By", "Node ID", "Status", "Description"], &rows)
}

fn newest_first(evals: &[Eval]) -> Vec<&Eval> {
    let mut sorted: Vec<&Eval> = evals.iter().collect();
    sorted.sort_by_key(|eval| std::cmp::Reverse(eval.create_index));
    sorted
}
