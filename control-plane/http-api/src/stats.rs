//! What an alloc uses now, asked of the edge that runs it.

use drover_model::AllocId;

use crate::allocs::LOOKED_UP;
use crate::call::Call;
use crate::ids;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::usage::AllocUsage;

pub(crate) async fn alloc(call: Call) -> Result<Reply, Problem> {
    let id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    let stats = call.api.server.alloc_stats(id).await?;
    let task = call.query.text("task");
    if !task.is_empty() && !stats.tasks.contains_key(task) {
        return Err(Problem::Invalid(format!("unknown task name {task:?}")));
    }
    call.plain(&AllocUsage::new(&stats, |name| task.is_empty() || name == task))
}
