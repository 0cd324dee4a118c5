//! From the beginning of an id to the one thing that is meant.

use drover_api_client::allocs::AllocStub;
use drover_api_client::deployments::Deployment;
use drover_api_client::evals::Eval;
use drover_api_client::jobs::JobStub;
use drover_api_client::nodes::NodeStub;
use drover_api_client::{Client, QueryOptions};

use crate::call::{Doing, Failure, fail};
use crate::commands::{job_status, node_status};
use crate::output::text::quote;
use crate::output::time::Clock;
use crate::output::{alloc_table, deployment, eval_table};

/// What a beginning may lead to.
pub enum Match<T> {
    /// The one.
    One(T),
    /// Several begin so; a table of them.
    Several(String),
}

impl<T> Match<T> {
    /// The one; several are an error.
    pub fn one(self) -> Result<T, Failure> {
        match self {
            Match::One(one) => Ok(one),
            Match::Several(text) => fail(text),
        }
    }
}

/// The job of that id, or the only one that begins so.
pub fn job(client: &Client, id: &str, clock: &Clock) -> Result<JobStub, Failure> {
    job_of_kind(client, id, clock, "job(s)", |_| true)
}

/// The same among the jobs that `is_meant` admits; `kind` is what messages call them.
pub fn job_of_kind(
    client: &Client,
    id: &str,
    clock: &Clock,
    kind: &str,
    is_meant: fn(&JobStub) -> bool,
) -> Result<JobStub, Failure> {
    let mut found = client.jobs(&QueryOptions::prefix(id)).doing(&format!("querying job prefix {}", quote(id)))?.value;
    found.retain(is_meant);
    let mut exact = found.iter().filter(|job| job.id == id);
    if let (Some(job), None) = (exact.next(), exact.next()) {
        return Ok(job.clone());
    }
    match found.as_slice() {
        [] => fail(format!("No {kind} with prefix or ID {} found", quote(id))),
        [only] => Ok(only.clone()),
        several => {
            let with_namespace = client.config().namespace == "*";
            let table = job_status::list(several, with_namespace, clock);
            fail(format!("Prefix {} matched multiple jobs\n\n{table}", quote(id)))
        }
    }
}

/// The alloc whose id begins so.
pub fn alloc(client: &Client, id: &str, clock: &Clock) -> Result<Match<AllocStub>, Failure> {
    let found = client.allocs(&QueryOptions::prefix(even(id)?)).doing("querying allocation")?.value;
    match found.as_slice() {
        [] => fail(format!("No allocation(s) with prefix or id {} found", quote(id))),
        [only] => Ok(Match::One(only.clone())),
        several => {
            let table = alloc_table::allocs(several, false, clock);
            Ok(Match::Several(format!("Prefix matched multiple allocations\n\n{table}")))
        }
    }
}

/// The node whose id begins so.
pub fn node(client: &Client, id: &str) -> Result<NodeStub, Failure> {
    let found = client.nodes(&QueryOptions::prefix(even(id)?)).doing("querying node info")?.value;
    match found.as_slice() {
        [] => fail(format!("No node(s) with prefix {} found", quote(id))),
        [only] => Ok(only.clone()),
        several => {
            let table = node_status::list(several, &node_status::Columns::default());
            fail(format!("Prefix matched multiple nodes\n\n{table}"))
        }
    }
}

/// The eval whose id begins so.
pub fn eval(client: &Client, id: &str) -> Result<Eval, Failure> {
    let found = client.evals(&QueryOptions::prefix(even(id)?)).doing("querying evaluation")?.value;
    match found.as_slice() {
        [] => fail(format!("No evaluation(s) with prefix or id {} found", quote(id))),
        [only] => Ok(only.clone()),
        several => fail(format!("Prefix matched multiple evaluations\n\n{}", eval_table::evals(several, false))),
    }
}

/// The deployment whose id begins so.
pub fn deployment(client: &Client, id: &str) -> Result<Deployment, Failure> {
    let prefix = even(id).map_err(|failure| match failure {
        Failure::Error(text) => Failure::Error(format!("Error retrieving deployment: {text}")),
        other => other,
    })?;
    let found = client.deployments(&QueryOptions::prefix(prefix)).doing("retrieving deployment")?.value;
    match found.as_slice() {
        [] => fail(format!("Error retrieving deployment: Deployment ID {} matched no deployments", quote(id))),
        [only] => Ok(only.clone()),
        several => fail(format!("Prefix matched multiple deployments\n\n{}", deployment::list(several, false))),
    }
}

/// Servers compare whole bytes of an id: of an odd number of digits the last one is left out.
pub fn even(id: &str) -> Result<String, Failure> {
    if id.chars().count() < 2 {
        return fail("Identifier must contain at least two characters.");
    }
    let digits = id.chars().filter(|c| *c != '-').count();
    let mut even = id.to_owned();
    if digits % 2 == 1 {
        even.pop();
    }
    Ok(even)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_to_whole_bytes() {
        let check = |id: &str, expected: &str| assert_eq!(even(id), Ok(expected.to_owned()));
        check("ab12", "ab12");
        check("ab1", "ab");
        check("4f2b771a-cdb5-2", "4f2b771a-cdb5-");
        check("4f2b771a-cdb5-281b-868a-8915203016a2", "4f2b771a-cdb5-281b-868a-8915203016a2");
        assert_eq!(even("a"), Err(Failure::Error("Identifier must contain at least two characters.".to_owned())));
    }
}
