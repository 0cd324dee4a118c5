//! Allocs: lists, one alloc, stopping one.

use std::sync::Arc;

use drover_filter::Filter;
use drover_model::AllocId;
use drover_model::alloc::Alloc;
use drover_server::Watch;
use drover_server::allocs::StopAllocOptions;
use drover_state::{Snapshot, Table};
use serde_json::json;

use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::filtering::{Asked, whole_alloc};
use crate::ids::{self, Prefix};
use crate::page::{ByCreation, ById, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::alloc::{AllocListStub, AllocView, Shown};

pub(crate) const LOOKED_UP: &str = "alloc lookup failed";

/// Allocs as lists show them.
pub(crate) fn stubs<'a>(
    snapshot: &Snapshot,
    allocs: impl Iterator<Item = &'a Arc<Alloc>>,
    shown: Shown,
) -> Vec<AllocListStub<'a>> {
    allocs.map(|alloc| AllocListStub::new(alloc, snapshot.job_of_alloc(alloc), shown)).collect()
}

/// A whole alloc with the job it runs.
pub(crate) fn view<'a>(snapshot: &'a Snapshot, alloc: &'a Alloc) -> Result<AllocView<'a>, Problem> {
    AllocView::new(alloc, snapshot.job_of_alloc(alloc)).map_err(|error| {
        tracing::error!(%error, alloc = %alloc.id, "alloc is no JSON");
        Problem::Failed("alloc can't be written as JSON".to_owned())
    })
}

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let asked = Asked::of(&call.query)?;
    let shown = Shown {
        resources: call.query.job_flag("resources", false)?,
        task_states: call.query.job_flag("task_states", true)?,
    };
    read(&call, &[Watch::Table(Table::Allocs)], |reading, options| {
        let snapshot = &reading.snapshot;
        let prefix = Prefix::parse(&options.prefix, LOOKED_UP)?;
        let allocs = snapshot
            .allocs()
            .filter(|alloc| call.query.admits_namespace(alloc.namespace.as_str()) && prefix.admits(&alloc.id));
        let keep = |alloc: &&Arc<Alloc>| {
            let job = |filter: &Filter| snapshot.job_of_alloc(alloc).filter(|_| filter.names("Job"));
            asked.admits(|filter| whole_alloc(alloc, job(filter).map(|job| &**job)))
        };
        let (allocs, token) = if prefix.is_empty() {
            let place = |alloc: &Arc<Alloc>| ByCreation(alloc.create_index, alloc.id.to_string());
            page(allocs.map(|alloc| (place(alloc), alloc)).collect(), options, options.reverse, keep)?
        } else {
            page(allocs.map(|alloc| (ById(alloc.id.to_string()), alloc)).collect(), options, options.reverse, keep)?
        };
        Seen::page(snapshot.table_index(Table::Allocs), (stubs(snapshot, allocs.into_iter(), shown), token), &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    read(&call, &[Watch::Alloc(id)], |reading, _| match reading.snapshot.alloc(id) {
        Some(alloc) => Seen::value(alloc.modify_index, &view(&reading.snapshot, alloc)?, &call),
        None => Ok(Seen::missing(reading.snapshot.table_index(Table::Allocs), "alloc not found")),
    })
    .await
}

pub(crate) async fn stop(call: Call) -> Result<Reply, Problem> {
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    let options = StopAllocOptions {
        no_shutdown_delay: call.query.job_flag("no_shutdown_delay", false)?,
        reschedule: call.query.job_flag("reschedule", false)?,
    };
    let (eval_id, index) = call.api.server.stop_alloc(id, options).await?;
    call.written(&json!({ "EvalID": eval_id, "Index": index }), index)
}
