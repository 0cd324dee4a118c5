//! Allocs in a table.

use drover_api_client::allocs::AllocStub;

use crate::output::table::table;
use crate::output::text::id;
use crate::output::time::Clock;

/// Newest first; a sentence when there are none.
pub fn allocs(allocs: &[AllocStub], verbose: bool, clock: &Clock) -> String {
    if allocs.is_empty() {
        return "No allocations placed".to_owned();
    }
    let mut sorted: Vec<&AllocStub> = allocs.iter().collect();
    sorted.sort_by_key(|alloc| std::cmp::Reverse(alloc.create_index));
    let rows: Vec<Vec<String>> = sorted.into_iter().map(|alloc| row(alloc, verbose, clock)).collect();
    if verbose {
        table(
            &[
                "ID",
                "Eval ID",
                "Node ID",
                "Node Name",
                "Task Group",
                "Version",
                "Desired",
                "Status",
                "Created",
                "Modified",
            ],
            &rows,
        )
    } else {
        table(&["ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"], &rows)
    }
}

fn row(alloc: &AllocStub, verbose: bool, clock: &Clock) -> Vec<String> {
    // Lists of whole allocs carry the version inside the job.
    let version = alloc.job.as_ref().map_or(alloc.job_version, |job| job.version);
    let mut row = vec![id(&alloc.id, verbose)];
    if verbose {
        row.push(alloc.eval_id.clone());
    }
    row.push(id(&alloc.node_id, verbose));
    if verbose {
        row.push(alloc.node_name.clone());
    }
    row.extend([
        alloc.task_group.clone(),
        version.to_string(),
        alloc.desired_status.clone(),
        alloc.client_status.clone(),
        clock.shown(alloc.create_time, verbose),
        clock.shown(alloc.modify_time, verbose),
    ]);
    row
}
