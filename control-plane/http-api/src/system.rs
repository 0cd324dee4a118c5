//! What an operator has done to the whole state.

use crate::call::Call;
use crate::problem::{self, Problem};
use crate::reply::Reply;

pub(crate) async fn collect_garbage(call: Call) -> Result<Reply, Problem> {
    call.api.server.collect_garbage().await?;
    Ok(problem::done())
}

pub(crate) async fn reconcile_summaries(call: Call) -> Result<Reply, Problem> {
    call.api.server.reconcile_summaries().await?;
    Ok(problem::done())
}
