//! Deployments: lists, one deployment, its allocs, promoting, failing and pausing it, the health of its allocs.

use std::sync::Arc;

use drover_model::deployment::Deployment;
use drover_model::{AllocId, DeploymentId};
use drover_server::Watch;
use drover_server::deployments::{DeploymentWritten, Promote};
use drover_state::Table;

use crate::allocs::stubs;
use crate::blocking::{Seen, read};
use crate::body::Fields;
use crate::call::Call;
use crate::filtering::{Asked, whole};
use crate::ids::{self, Prefix};
use crate::page::{ByCreation, ById, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::alloc::Shown;
use crate::views::written::DeploymentChanged;

const LOOKED_UP: &str = "deployment lookup failed";

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let asked = Asked::of(&call.query)?;
    read(&call, &[Watch::Table(Table::Deployments)], |reading, options| {
        let snapshot = &reading.snapshot;
        let prefix = Prefix::parse(&options.prefix, ids::INDEX)?;
        let deployments = snapshot.deployments().filter(|deployment| {
            call.query.admits_namespace(deployment.namespace.as_str()) && prefix.admits(&deployment.id)
        });
        let keep = |deployment: &&Arc<Deployment>| asked.admits(|_| whole(deployment));
        let (deployments, token) = if prefix.is_empty() {
            let place = |d: &Arc<Deployment>| ByCreation(d.create_index, d.id.to_string());
            page(deployments.map(|d| (place(d), d)).collect(), options, options.reverse, keep)?
        } else {
            page(deployments.map(|d| (ById(d.id.to_string()), d)).collect(), options, options.reverse, keep)?
        };
        Seen::page(snapshot.table_index(Table::Deployments), (deployments, token), &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let id: DeploymentId = ids::parse(call.param("deployment_id"), LOOKED_UP)?;
    read(&call, &[Watch::Deployment(id)], |reading, _| match reading.snapshot.deployment(id) {
        Some(deployment) => Seen::value(deployment.modify_index, deployment, &call),
        None => Ok(Seen::missing(reading.snapshot.table_index(Table::Deployments), "deployment not found")),
    })
    .await
}

pub(crate) async fn allocs(call: Call) -> Result<Reply, Problem> {
    let id: DeploymentId = ids::parse(call.param("deployment_id"), LOOKED_UP)?;
    // The allocs of a deployment are waited for by those of its job.
    let job = call.api.server.reading().snapshot.deployment(id).map(|deployment| deployment.job_key());
    let watch = job.map_or(Watch::Deployment(id), Watch::AllocsOfJob);
    read(&call, &[watch, Watch::Deployment(id)], |reading, _| {
        let snapshot = &reading.snapshot;
        let stubs = stubs(snapshot, snapshot.allocs_of_deployment(id), Shown::default());
        Seen::value(snapshot.table_index(Table::Allocs), &stubs, &call)
    })
    .await
}

fn changed(call: &Call, written: DeploymentWritten) -> Result<Reply, Problem> {
    let DeploymentWritten { eval_id, reverted_version, index } = written;
    let body = DeploymentChanged {
        deployment_modify_index: index,
        eval_create_index: if eval_id.is_some() { index } else { 0 },
        eval_id,
        index,
        reverted_job_version: reverted_version,
    };
    call.written(&body, index)
}

pub(crate) async fn fail(call: Call) -> Result<Reply, Problem> {
    let id: DeploymentId = ids::parse(call.param("deployment_id"), LOOKED_UP)?;
    let written = call.api.server.fail_deployment(id).await.map_err(Problem::of_write)?;
    changed(&call, written)
}

/// The body of a write that names the deployment again.
async fn take_named(call: &mut Call) -> Result<(DeploymentId, Fields), Problem> {
    let fields = call.take_fields().await?;
    let named = fields.text("DeploymentID")?;
    if named.is_empty() {
        return Err(Problem::Invalid("DeploymentID must be specified".to_owned()));
    }
    if named != call.param("deployment_id") {
        return Err(Problem::Invalid("Deployment ID does not match".to_owned()));
    }
    Ok((ids::parse(named, LOOKED_UP)?, fields))
}

pub(crate) async fn promote(mut call: Call) -> Result<Reply, Problem> {
    let (id, fields) = take_named(&mut call).await?;
    let groups = if fields.flag("All")? { Promote::All } else { Promote::Groups(fields.list("Groups")?) };
    let written = call.api.server.promote_deployment(id, groups).await.map_err(Problem::of_write)?;
    changed(&call, written)
}

pub(crate) async fn set_alloc_health(mut call: Call) -> Result<Reply, Problem> {
    let (id, fields) = take_named(&mut call).await?;
    let ids = |key: &str| -> Result<Vec<AllocId>, Problem> {
        let parse = |text: String| ids::parse(&text, &format!("alloc {text:?} lookup failed"));
        fields.list(key)?.into_iter().map(parse).collect()
    };
    let (healthy, unhealthy) = (ids("HealthyAllocationIDs")?, ids("UnhealthyAllocationIDs")?);
    let written = call.api.server.set_alloc_health(id, healthy, unhealthy).await.map_err(Problem::of_write)?;
    changed(&call, written)
}

pub(crate) async fn unblock(mut call: Call) -> Result<Reply, Problem> {
    let (id, _) = take_named(&mut call).await?;
    let written = call.api.server.unblock_deployment(id).await.map_err(Problem::of_write)?;
    changed(&call, written)
}

pub(crate) async fn pause(mut call: Call) -> Result<Reply, Problem> {
    let (id, fields) = take_named(&mut call).await?;
    let pause = fields.flag("Pause")?;
    let written = call.api.server.pause_deployment(id, pause).await.map_err(Problem::of_write)?;
    changed(&call, written)
}
