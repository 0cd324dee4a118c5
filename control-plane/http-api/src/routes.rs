//! The one table of what is routed. A row is here only when its handler answers truthfully.

use std::future::Future;
use std::pin::Pin;

use axum::http::Method;

use crate::call::Call;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::{
    agent, allocs, client_files, client_tasks, deployments, evals, events, exec, job_launch, job_plan, job_scale,
    job_statuses, job_tags, job_text, job_write, jobs, join_tokens, logs, metrics, namespaces, nodes, operator,
    own_agent, scaling_policies, scheduler_config, search, snapshot, stats, system,
};

/// What a handler gives.
pub type Answering = Pin<Box<dyn Future<Output = Result<Reply, Problem>> + Send>>;

/// How a request says which region it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regions {
    /// By the parameter: without it, it is for this one.
    Own,
    /// By the parameter or by the job in its body.
    OfJob,
    /// The parameter means nothing here.
    Ignored,
}

/// One row of the table.
pub struct Route {
    /// The methods, the first one being the usual.
    pub methods: &'static [&'static str],
    /// Any other method does as well.
    pub any_method: bool,
    /// The path; see [`crate::path`].
    pub pattern: &'static str,
    /// How a request says which region it is for.
    pub regions: Regions,
    /// Pages of other origins may call it.
    pub is_shared: bool,
    /// What answers it.
    pub handler: fn(Call) -> Answering,
}

impl Route {
    /// It answers that method.
    pub fn takes(&self, method: &Method) -> bool {
        self.any_method || self.methods.contains(&method.as_str())
    }

    const fn ignoring_region(self) -> Self {
        Self { regions: Regions::Ignored, ..self }
    }

    const fn with_job(self) -> Self {
        Self { regions: Regions::OfJob, ..self }
    }

    const fn any_method(self) -> Self {
        Self { any_method: true, ..self }
    }

    const fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }
}

const GET: &[&str] = &["GET"];
const WRITE: &[&str] = &["PUT", "POST"];
const POST_ONLY: &[&str] = &["POST"];
const PUT_ONLY: &[&str] = &["PUT"];
const DELETE: &[&str] = &["DELETE"];

const fn on(methods: &'static [&'static str], pattern: &'static str, handler: fn(Call) -> Answering) -> Route {
    Route { methods, any_method: false, pattern, regions: Regions::Own, is_shared: false, handler }
}

macro_rules! to {
    ($handler:path) => {
        |call| Box::pin($handler(call))
    };
}

/// Every path that is answered. Of two patterns that match, the first has it.
#[rustfmt::skip]
pub static ROUTES: &[Route] = &[
    on(GET,       "/v1/jobs",                           to!(jobs::list)),
    on(WRITE,     "/v1/jobs",                           to!(job_write::register)).with_job(),
    on(WRITE,     "/v1/jobs/parse",                     to!(job_text::parse)),
    on(GET,       "/v1/jobs/statuses",                  to!(job_statuses::list)),
    on(POST_ONLY, "/v1/jobs/statuses",                  to!(job_statuses::list_asked)),
    on(WRITE,     "/v1/validate/job",                   to!(job_text::validate)).with_job(),
    on(GET,       "/v1/job/*job_id/allocations",        to!(jobs::allocs)),
    on(GET,       "/v1/job/*job_id/evaluations",        to!(jobs::evals)),
    on(GET,       "/v1/job/*job_id/deployments",        to!(jobs::deployments)),
    on(GET,       "/v1/job/*job_id/deployment",         to!(jobs::latest_deployment)),
    on(GET,       "/v1/job/*job_id/summary",            to!(jobs::summary)).any_method(),
    on(GET,       "/v1/job/*job_id/versions",           to!(jobs::versions)).any_method(),
    on(GET,       "/v1/job/*job_id/submission",         to!(jobs::submission)).any_method(),
    on(WRITE,     "/v1/job/*job_id/plan",               to!(job_plan::plan)).with_job(),
    on(WRITE,     "/v1/job/*job_id/evaluate",           to!(job_write::evaluate)),
    on(WRITE,     "/v1/job/*job_id/revert",             to!(job_write::revert)),
    on(WRITE,     "/v1/job/*job_id/stable",             to!(job_write::set_stable)),
    on(WRITE,     "/v1/job/*job_id/periodic/force",     to!(job_launch::force)),
    on(WRITE,     "/v1/job/*job_id/dispatch",           to!(job_launch::dispatch)),
    on(WRITE,     "/v1/job/*job_id/dispatch/payload",   to!(job_launch::dispatch_payload)),
    on(WRITE,     "/v1/job/*job_id/scale",              to!(job_scale::scale)),
    on(GET,       "/v1/job/*job_id/scale",              to!(job_scale::status)),
    on(GET,       "/v1/job/*job_id/actions",            to!(jobs::actions)),
    on(WRITE,     "/v1/job/*job_id/versions/:tag_name/tag", to!(job_tags::set)),
    on(DELETE,    "/v1/job/*job_id/versions/:tag_name/tag", to!(job_tags::unset)),
    on(GET,       "/v1/job/*job_id/tag",                to!(job_tags::no_endpoint)).any_method(),
    on(GET,       "/v1/job/*job_id",                    to!(jobs::get)),
    on(WRITE,     "/v1/job/*job_id",                    to!(job_write::register)).with_job(),
    on(DELETE,    "/v1/job/*job_id",                    to!(job_write::deregister)),

    on(GET,       "/v1/scaling/policies",               to!(scaling_policies::list)),
    on(GET,       "/v1/scaling/policy/:policy_id",      to!(scaling_policies::get)),

    on(GET,       "/v1/nodes",                          to!(nodes::list)),
    on(GET,       "/v1/node/:node_id",                  to!(nodes::get)),
    on(GET,       "/v1/node/:node_id/allocations",      to!(nodes::allocs)),
    on(WRITE,     "/v1/node/:node_id/evaluate",         to!(nodes::evaluate)),
    on(WRITE,     "/v1/node/:node_id/eligibility",      to!(nodes::set_eligibility)),
    on(WRITE,     "/v1/node/:node_id/purge",            to!(nodes::purge)),

    on(GET,       "/v1/allocations",                    to!(allocs::list)),
    on(GET,       "/v1/allocation/:alloc_id",           to!(allocs::get)),
    on(WRITE,     "/v1/allocation/:alloc_id/stop",      to!(allocs::stop)),

    on(GET,       "/v1/evaluations",                    to!(evals::list)),
    on(GET,       "/v1/evaluations/count",              to!(evals::count)),
    on(GET,       "/v1/evaluation/:eval_id",            to!(evals::get)),
    on(GET,       "/v1/evaluation/:eval_id/allocations", to!(evals::allocs)),

    on(GET,       "/v1/deployments",                    to!(deployments::list)),
    on(GET,       "/v1/deployment/allocations/:deployment_id", to!(deployments::allocs)),
    on(WRITE,     "/v1/deployment/fail/:deployment_id", to!(deployments::fail)),
    on(WRITE,     "/v1/deployment/pause/:deployment_id", to!(deployments::pause)),
    on(WRITE,     "/v1/deployment/promote/:deployment_id", to!(deployments::promote)),
    on(WRITE,     "/v1/deployment/allocation-health/:deployment_id", to!(deployments::set_alloc_health)),
    on(WRITE,     "/v1/deployment/unblock/:deployment_id", to!(deployments::unblock)),
    on(GET,       "/v1/deployment/:deployment_id",      to!(deployments::get)),

    on(GET,       "/v1/event/stream",                   to!(events::stream)),

    on(GET,       "/v1/namespaces",                     to!(namespaces::list)),
    on(WRITE,     "/v1/namespace",                      to!(namespaces::put)),
    on(GET,       "/v1/namespace/",                     to!(namespaces::unnamed)).any_method(),
    on(GET,       "/v1/namespace/:name",                to!(namespaces::get)),
    on(WRITE,     "/v1/namespace/:name",                to!(namespaces::put)),
    on(DELETE,    "/v1/namespace/:name",                to!(namespaces::delete)),

    on(GET,       "/v1/client/fs/logs/:alloc_id",       to!(logs::read)).any_method().shared(),
    on(GET,       "/v1/client/allocation/:alloc_id/stats", to!(stats::alloc)).any_method().shared(),
    on(GET,       "/v1/client/fs/ls/:alloc_id",         to!(client_files::list)).any_method().shared(),
    on(GET,       "/v1/client/fs/stat/:alloc_id",       to!(client_files::stat)).any_method().shared(),
    on(GET,       "/v1/client/fs/cat/:alloc_id",        to!(client_files::cat)).any_method().shared(),
    on(GET,       "/v1/client/fs/readat/:alloc_id",     to!(client_files::read_at)).any_method().shared(),
    on(GET,       "/v1/client/fs/stream/:alloc_id",     to!(client_files::stream)).any_method().shared(),
    on(GET,       "/v1/client/stats",                   to!(client_tasks::host_stats)).any_method().shared(),
    on(GET,       "/v1/client/gc",                      to!(client_tasks::collect_allocs)).any_method(),
    on(GET,       "/v1/client/metadata",                to!(client_tasks::read_meta)).shared(),
    on(POST_ONLY, "/v1/client/metadata",                to!(client_tasks::apply_meta)).shared(),
    on(GET,       "/v1/client/allocation/:alloc_id/gc", to!(client_tasks::collect_alloc)).any_method().shared(),
    on(GET,       "/v1/client/allocation/:alloc_id/exec", to!(exec::exec)).any_method().shared(),
    on(WRITE,     "/v1/client/allocation/:alloc_id/restart", to!(client_tasks::restart)).any_method().shared(),
    on(WRITE,     "/v1/client/allocation/:alloc_id/signal", to!(client_tasks::signal)).shared(),

    on(GET,       "/v1/agent/self",                     to!(agent::about)).ignoring_region(),
    on(GET,       "/v1/agent/members",                  to!(agent::members)).ignoring_region(),
    on(WRITE,     "/v1/agent/join",                     to!(agent::join)),
    on(WRITE,     "/v1/agent/force-leave",              to!(agent::force_leave)),
    on(GET,       "/v1/agent/servers",                  to!(agent::servers)),
    on(GET,       "/v1/agent/health",                   to!(agent::health)),
    on(GET,       own_agent::HOST,                      to!(own_agent::host)),
    on(WRITE,     own_agent::RELOAD,                    to!(own_agent::reload)).ignoring_region(),
    on(GET,       own_agent::MONITOR,                   to!(own_agent::monitor)).any_method(),
    on(GET,       "/v1/status/leader",                  to!(operator::leader)),
    on(GET,       "/v1/status/peers",                   to!(operator::peers)),
    on(GET,       "/v1/metrics",                        to!(metrics::read)).ignoring_region(),
    on(GET,       "/v1/regions",                        to!(operator::regions)).ignoring_region(),
    on(GET,       "/v1/operator/raft/configuration",    to!(operator::raft_configuration)),
    on(DELETE,    "/v1/operator/raft/peer",             to!(operator::remove_peer)),
    on(WRITE,     "/v1/operator/raft/transfer-leadership", to!(operator::transfer_leadership)),
    on(GET,       "/v1/operator/autopilot/configuration", to!(operator::autopilot_configuration)),
    on(PUT_ONLY,  "/v1/operator/autopilot/configuration", to!(operator::set_autopilot_configuration)),
    on(GET,       "/v1/operator/autopilot/health",      to!(operator::autopilot_health)),
    on(GET,       "/v1/operator/scheduler/configuration", to!(scheduler_config::show)),
    on(WRITE,     "/v1/operator/scheduler/configuration", to!(scheduler_config::set)),
    on(PUT_ONLY,  "/v1/system/gc",                      to!(system::collect_garbage)),
    on(PUT_ONLY,  "/v1/system/reconcile/summaries",     to!(system::reconcile_summaries)),
    on(GET,       "/v1/operator/snapshot",              to!(snapshot::save)),
    on(WRITE,     "/v1/operator/snapshot",              to!(snapshot::restore)),
    on(GET,       "/v1/operator/join-token",            to!(join_tokens::list)),
    on(WRITE,     "/v1/operator/join-token",            to!(join_tokens::create)),
    on(WRITE,     "/v1/search",                         to!(search::prefix)),
];

/// Paths below a job that mean something else than a longer name, and are not answered yet. Without this list they
/// would be read as names.
pub static NOT_SERVED: &[&str] = &["/v1/job/*job_id/services", "/v1/job/*job_id/action"];

#[cfg(test)]
mod tests;
