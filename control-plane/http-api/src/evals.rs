//! Evals: lists, counts, one eval, the allocs it placed.

use std::collections::BTreeSet;
use std::sync::Arc;

use drover_filter::Filter;
use drover_model::EvalId;
use drover_model::eval::Eval;
use drover_server::Watch;
use drover_state::{Snapshot, Table};
use serde_json::json;

use crate::allocs::stubs;
use crate::blocking::{Seen, read};
use crate::call::Call;
use crate::filtering::{Asked, whole_eval};
use crate::ids::{self, Prefix};
use crate::page::{ByCreation, ById, page};
use crate::problem::Problem;
use crate::reply::Reply;
use crate::views::alloc::Shown;
use crate::views::eval::EvalView;

const LOOKED_UP: &str = "eval lookup failed";
/// The most evals that are shown as belonging to one.
const RELATED_MAX: usize = 100;

fn is_asked(call: &Call, prefix: &Prefix, eval: &Eval) -> bool {
    let is = |name: &str, value: &str| matches!(call.query.text(name), "") || call.query.text(name) == value;
    call.query.admits_namespace(eval.namespace.as_str())
        && is("job", eval.job_id.as_str())
        && is("status", eval.status.as_str())
        && prefix.admits(&eval.id)
}

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let has = |name: &str| !call.query.text(name).is_empty();
    if has("filter") && (has("job") || has("status")) {
        return Err(Problem::Invalid("Filter expression cannot be used with other filter parameters".to_owned()));
    }
    let asked = Asked::of(&call.query)?;
    read(&call, &[Watch::Table(Table::Evals)], |reading, options| {
        let snapshot = &reading.snapshot;
        let prefix = Prefix::parse(&options.prefix, LOOKED_UP)?;
        let evals = snapshot.evals().filter(|eval| is_asked(&call, &prefix, eval));
        let keep = |eval: &&Arc<Eval>| asked.admits(|_| whole_eval(eval));
        let (evals, token) = if prefix.is_empty() {
            let place = |eval: &Arc<Eval>| ByCreation(eval.create_index, eval.id.to_string());
            page(evals.map(|eval| (place(eval), eval)).collect(), options, options.reverse, keep)?
        } else {
            page(evals.map(|eval| (ById(eval.id.to_string()), eval)).collect(), options, options.reverse, keep)?
        };
        Seen::page(snapshot.table_index(Table::Evals), (evals, token), &call)
    })
    .await
}

pub(crate) async fn count(call: Call) -> Result<Reply, Problem> {
    let filter = match call.query.text("filter") {
        "" => None,
        text => Some(Filter::parse(text).map_err(|error| Problem::Failed(error.to_string()))?),
    };
    // An eval of which the filter can't be asked does not count.
    let keeps = |eval: &Eval| filter.as_ref().is_none_or(|filter| filter.matches(&whole_eval(eval)) == Ok(true));
    read(&call, &[Watch::Table(Table::Evals)], |reading, options| {
        let prefix = Prefix::parse(&options.prefix, LOOKED_UP)?;
        let count = reading.snapshot.evals().filter(|eval| is_asked(&call, &prefix, eval) && keeps(eval)).count();
        let index = reading.snapshot.table_index(Table::Evals);
        let body = json!({
            "Count": count,
            "Index": index.max(1),
            "KnownLeader": reading.known_leader,
            "LastContact": u64::try_from(reading.last_contact.as_nanos()).unwrap_or(u64::MAX),
            "NextToken": "",
        });
        Seen::value(index, &body, &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let id: EvalId = ids::parse(call.param("eval_id"), "failed to lookup eval: eval lookup failed")?;
    let with_related = call.query.job_flag("related", false)?;
    read(&call, &[Watch::Eval(id)], |reading, _| {
        let snapshot = &reading.snapshot;
        let Some(eval) = snapshot.eval(id) else {
            return Ok(Seen::missing(snapshot.table_index(Table::Evals), "eval not found"));
        };
        let related_evals = if with_related { related(snapshot, eval) } else { Vec::new() };
        let related_evals = related_evals.into_iter().map(Into::into).collect();
        Seen::value(eval.modify_index, &EvalView { eval, related_evals }, &call)
    })
    .await
}

/// The evals that lead to this one and from it, without itself.
fn related<'a>(snapshot: &'a Snapshot, eval: &Eval) -> Vec<&'a Eval> {
    let mut seen = BTreeSet::from([eval.id]);
    let mut found = Vec::new();
    let mut next: Vec<EvalId> = links(eval).collect();
    while let Some(id) = next.pop() {
        if found.len() == RELATED_MAX || !seen.insert(id) {
            continue;
        }
        if let Some(eval) = snapshot.eval(id) {
            next.extend(links(eval));
            found.push(&**eval);
        }
    }
    found
}

fn links(eval: &Eval) -> impl Iterator<Item = EvalId> + use<> {
    [eval.previous_eval, eval.next_eval, eval.blocked_eval].into_iter().flatten()
}

pub(crate) async fn allocs(call: Call) -> Result<Reply, Problem> {
    let id: EvalId = ids::parse(call.param("eval_id"), LOOKED_UP)?;
    read(&call, &[Watch::AllocsOfEval(id)], |reading, _| {
        let snapshot = &reading.snapshot;
        let stubs = stubs(snapshot, snapshot.allocs_of_eval(id), Shown::default());
        Seen::value(snapshot.table_index(Table::Allocs), &stubs, &call)
    })
    .await
}
