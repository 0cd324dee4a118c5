//! Jobs with their allocs and rollouts in short, as a page of jobs shows them.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_model::alloc::Alloc;
use drover_model::job::Job;
use drover_model::{JobKey, Namespace};
use drover_server::Watch;
use drover_state::{Snapshot, Table};
use serde_json::Value;

use crate::blocking::{Seen, read};
use crate::body::Fields;
use crate::call::Call;
use crate::filtering::{Asked, whole};
use crate::page::{ByChange, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::job::JobStatusView;

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    statuses(call, None, false).await
}

pub(crate) async fn list_asked(mut call: Call) -> Result<Reply, Problem> {
    let decoding = |problem: Problem| match problem {
        Problem::Invalid(text) => Problem::Invalid(format!("error decoding request: {text}")),
        other => other,
    };
    let Some(fields) = call.take_optional_fields().await.map_err(decoding)? else {
        return statuses(call, None, false).await;
    };
    let asked = asked(&fields).map_err(decoding)?;
    if asked.is_empty() {
        return Err(Problem::Invalid("no jobs in request".to_owned()));
    }
    let with_children = fields.flag("IncludeChildren")?;
    statuses(call, Some(asked), with_children).await
}

fn asked(fields: &Fields) -> Result<BTreeSet<JobKey>, Problem> {
    let wrong = || Problem::Invalid("field Jobs must be a list of objects".to_owned());
    let jobs = match fields.get("Jobs") {
        None => return Ok(BTreeSet::new()),
        Some(Value::Array(jobs)) => jobs,
        Some(_) => return Err(wrong()),
    };
    let key = |job: &Value| {
        let job = Fields::parse(job.to_string().as_bytes()).map_err(|_| wrong())?;
        let namespace = Some(job.text("Namespace")?).filter(|name| !name.is_empty()).unwrap_or("default");
        Ok(JobKey::new(Namespace::from(namespace), job.text("ID")?))
    };
    jobs.iter().map(key).collect()
}

async fn statuses(call: Call, asked: Option<BTreeSet<JobKey>>, with_children: bool) -> Result<Reply, Problem> {
    let filter = Asked::failing(&call.query)?;
    let with_children = with_children || call.query.job_flag("include_children", false)?;
    // Of what was asked for by name, the names tell the namespace.
    let admits = |job: &Job| match &asked {
        Some(asked) => asked.contains(&job.key()),
        None => call.query.admits_namespace(job.namespace.as_str()) && (with_children || job.parent_id.is_empty()),
    };
    let tables = [Table::Jobs, Table::Allocs, Table::Deployments];
    read(&call, &tables.map(Watch::Table), |reading, options| {
        let snapshot = &reading.snapshot;
        let jobs = snapshot.jobs().filter(|job| admits(job));
        let place = |job: &Arc<Job>| ByChange::new(last_change(snapshot, job), job.namespace.as_str(), job.id.as_str());
        let placed = jobs.map(|job| (place(job), job)).collect();
        // Newest first, unless the reverse is asked for.
        let (jobs, token) =
            page::<ByChange, &Arc<Job>>(placed, options, !options.reverse, |job| filter.admits(|_| whole(job)))?;
        let views: Vec<_> = jobs.into_iter().map(|job| view(snapshot, job)).collect();
        let index = tables.iter().map(|table| snapshot.table_index(*table)).max().unwrap_or_default();
        Seen::page(index, (views, token), &call)
    })
    .await
}

fn allocs_of<'a>(snapshot: &'a Snapshot, job: &'a Job) -> impl Iterator<Item = &'a Alloc> {
    let of_this = |alloc: &&Alloc| alloc.job_create_index == job.create_index;
    snapshot.allocs_of_job(&job.key()).map(|alloc| &**alloc).filter(of_this)
}

fn last_change(snapshot: &Snapshot, job: &Job) -> u64 {
    let allocs = allocs_of(snapshot, job).map(|alloc| alloc.modify_index);
    let deployment = snapshot.latest_deployment(&job.key()).map(|deployment| deployment.modify_index);
    allocs.chain(deployment).fold(job.modify_index, u64::max)
}

fn view<'a>(snapshot: &'a Snapshot, job: &'a Job) -> JobStatusView<'a> {
    let allocs: Vec<_> = allocs_of(snapshot, job).collect();
    let latest = snapshot.latest_deployment(&job.key()).filter(|latest| latest.job_create_index == job.create_index);
    JobStatusView::new(job, &allocs, latest.map(|latest| &**latest), last_change(snapshot, job))
}
