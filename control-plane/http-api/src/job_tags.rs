//! Names for versions of a job.

use serde_json::json;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;

pub(crate) async fn set(mut call: Call) -> Result<Reply, Problem> {
    let fields = call.take_fields().await?;
    let version = fields.number("Version")?.unwrap_or_default();
    let is_latest = fields.flag("Latest")?;
    if is_latest && version > 0 {
        return Err(Problem::Failed(format!("version must be zero when tagging latest, got: {version}")));
    }
    let version = Some(version).filter(|_| !is_latest);
    let description = fields.text("Description")?.to_owned();
    let name = call.param("tag_name").to_owned();
    let written = call.api.server.tag_job_version(call.job_key(), name.clone(), version, description.clone()).await;
    let tagged = written.map_err(Problem::of_write)?;
    call.plain(&answer(&name, &description, tagged.at.0, tagged.index))
}

pub(crate) async fn unset(call: Call) -> Result<Reply, Problem> {
    let name = call.param("tag_name").to_owned();
    let index = call.api.server.untag_job_version(call.job_key(), name).await.map_err(Problem::of_write)?;
    call.plain(&answer("", "", 0, index))
}

fn answer(name: &str, description: &str, tagged_time: i64, index: u64) -> serde_json::Value {
    json!({
        "Description": description,
        "Index": index,
        "KnownLeader": false,
        "LastContact": 0,
        "Name": name,
        "NextToken": "",
        "TaggedTime": tagged_time,
    })
}

/// The path has more parts than a name can have.
pub(crate) async fn no_endpoint(_call: Call) -> Result<Reply, Problem> {
    Err(Problem::NotFound("invalid job tag endpoint".to_owned()))
}
