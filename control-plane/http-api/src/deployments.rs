//! Deployments: lists, one deployment, its allocs, failing and pausing it.

use std::sync::Arc;

use drover_model::DeploymentId;
use drover_model::deployment::Deployment;
use drover_server::Watch;
use drover_server::deployments::DeploymentWritten;
use drover_state::Table;

use crate::allocs::stubs;
use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::ids::{self, Prefix};
use crate::page::{ByCreation, ById, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::alloc::Shown;
use crate::views::written::DeploymentChanged;

const LOOKED_UP: &str = "deployment lookup failed";

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    call.query.refuse_filter()?;
    read(&call, &[Watch::Table(Table::Deployments)], |reading, options| {
        let snapshot = &reading.snapshot;
        let prefix = Prefix::parse(&options.prefix, "")?;
        let deployments = snapshot.deployments().filter(|deployment| {
            call.query.admits_namespace(deployment.namespace.as_str()) && prefix.admits(&deployment.id)
        });
        let (deployments, token) = if prefix.is_empty() {
            let place = |d: &Arc<Deployment>| ByCreation(d.create_index, d.id.to_string());
            page(deployments.map(|d| (place(d), d)).collect(), options, options.reverse)?
        } else {
            page(deployments.map(|d| (ById(d.id.to_string()), d)).collect(), options, options.reverse)?
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

pub(crate) async fn pause(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let named = fields.text("DeploymentID")?;
    if named.is_empty() {
        return Err(Problem::Invalid("DeploymentID must be specified".to_owned()));
    }
    if named != call.param("deployment_id") {
        return Err(Problem::Invalid("Deployment ID does not match".to_owned()));
    }
    let id: DeploymentId = ids::parse(named, LOOKED_UP)?;
    let pause = fields.flag("Pause")?;
    let written = call.api.server.pause_deployment(id, pause).await.map_err(Problem::of_write)?;
    changed(&call, written)
}
