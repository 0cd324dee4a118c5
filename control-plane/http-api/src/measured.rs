//! How requests are measured: each row of the table under the name that dashboards know of what it asks of a server.

use std::time::Duration;

use axum::http::Method;

use crate::reply::Reply;

/// Patterns of paths without `/v1/`, their methods (empty for all), and the name of what they take.
#[rustfmt::skip]
const NAMES: &[(&str, &str, &str)] = &[
    ("GET",    "jobs",                              "nomad.nomad.job.list"),
    ("",       "jobs",                              "nomad.nomad.job.register"),
    ("",       "jobs/statuses",                     "nomad.nomad.jobs.statuses"),
    ("",       "validate/job",                      "nomad.nomad.job.validate"),
    ("",       "job/*job_id/allocations",           "nomad.nomad.job.allocations"),
    ("",       "job/*job_id/evaluations",           "nomad.nomad.job.evaluations"),
    ("",       "job/*job_id/deployments",           "nomad.nomad.job.deployments"),
    ("",       "job/*job_id/deployment",            "nomad.nomad.job.latest_deployment"),
    ("",       "job/*job_id/summary",               "nomad.nomad.job_summary.get_job_summary"),
    ("",       "job/*job_id/versions",              "nomad.nomad.job.get_job_versions"),
    ("",       "job/*job_id/submission",            "nomad.nomad.job.get_job_submission"),
    ("",       "job/*job_id/plan",                  "nomad.nomad.job.plan"),
    ("",       "job/*job_id/evaluate",              "nomad.nomad.job.evaluate"),
    ("",       "job/*job_id/revert",                "nomad.nomad.job.revert"),
    ("",       "job/*job_id/stable",                "nomad.nomad.job.stable"),
    ("",       "job/*job_id/periodic/force",        "nomad.nomad.periodic.force"),
    ("",       "job/*job_id/dispatch",              "nomad.nomad.job.dispatch"),
    ("",       "job/*job_id/dispatch/payload",      "nomad.nomad.job.dispatch"),
    ("GET",    "job/*job_id/scale",                 "nomad.nomad.job.scale_status"),
    ("",       "job/*job_id/scale",                 "nomad.nomad.job.scale"),
    ("",       "job/*job_id/actions",               "nomad.nomad.job.get_actions"),
    ("GET",    "job/*job_id",                       "nomad.nomad.job.get_job"),
    ("DELETE", "job/*job_id",                       "nomad.nomad.job.deregister"),
    ("",       "job/*job_id",                       "nomad.nomad.job.register"),
    ("",       "scaling/policies",                  "nomad.nomad.scaling.list_policies"),
    ("",       "scaling/policy/:policy_id",         "nomad.nomad.scaling.get_policy"),
    ("",       "nodes",                             "nomad.nomad.client.list"),
    ("",       "node/:node_id",                     "nomad.nomad.client.get_node"),
    ("",       "node/:node_id/allocations",         "nomad.nomad.client.get_allocs"),
    ("",       "node/:node_id/evaluate",            "nomad.nomad.client.evaluate"),
    ("",       "node/:node_id/eligibility",         "nomad.nomad.client.update_eligibility"),
    ("",       "node/:node_id/purge",               "nomad.nomad.client.deregister"),
    ("",       "allocations",                       "nomad.nomad.alloc.list"),
    ("",       "allocation/:alloc_id",              "nomad.nomad.alloc.get_alloc"),
    ("",       "allocation/:alloc_id/stop",         "nomad.nomad.alloc.stop"),
    ("",       "evaluations",                       "nomad.nomad.eval.list"),
    ("",       "evaluations/count",                 "nomad.nomad.eval.count"),
    ("",       "evaluation/:eval_id",               "nomad.nomad.eval.get_eval"),
    ("",       "evaluation/:eval_id/allocations",   "nomad.nomad.eval.allocations"),
    ("",       "deployments",                       "nomad.nomad.deployment.list"),
    ("",       "deployment/allocations/:deployment_id", "nomad.nomad.deployment.allocations"),
    ("",       "deployment/fail/:deployment_id",    "nomad.nomad.deployment.fail"),
    ("",       "deployment/pause/:deployment_id",   "nomad.nomad.deployment.pause"),
    ("",       "deployment/promote/:deployment_id", "nomad.nomad.deployment.promote"),
    ("",       "deployment/allocation-health/:deployment_id", "nomad.nomad.deployment.set_alloc_health"),
    ("",       "deployment/unblock/:deployment_id", "nomad.nomad.deployment.unblock"),
    ("",       "deployment/:deployment_id",         "nomad.nomad.deployment.get_deployment"),
    ("",       "namespaces",                        "nomad.nomad.namespace.list_namespace"),
    ("",       "namespace",                         "nomad.nomad.namespace.upsert_namespaces"),
    ("GET",    "namespace/:name",                   "nomad.nomad.namespace.get_namespace"),
    ("DELETE", "namespace/:name",                   "nomad.nomad.namespace.delete_namespaces"),
    ("",       "namespace/:name",                   "nomad.nomad.namespace.upsert_namespaces"),
    ("",       "client/fs/logs/:alloc_id",          "nomad.nomad.file_system.logs"),
    ("",       "client/fs/ls/:alloc_id",            "nomad.nomad.file_system.list"),
    ("",       "client/fs/stat/:alloc_id",          "nomad.nomad.file_system.stat"),
    ("",       "client/fs/stream/:alloc_id",        "nomad.nomad.file_system.stream"),
    ("",       "client/allocation/:alloc_id/stats", "nomad.nomad.client_allocations.stats"),
    ("",       "job/*job_id/versions/:tag_name/tag", "nomad.nomad.job.tag_version"),
    ("",       "client/stats",                      "nomad.nomad.client_stats.stats"),
    ("GET",    "client/metadata",                   "nomad.nomad.client_meta.read"),
    ("",       "client/metadata",                   "nomad.nomad.client_meta.apply"),
    ("",       "client/gc",                         "nomad.nomad.client_allocations.garbage_collect_all"),
    ("",       "client/allocation/:alloc_id/gc",    "nomad.nomad.client_allocations.garbage_collect"),
    ("",       "client/allocation/:alloc_id/restart", "nomad.nomad.client_allocations.restart"),
    ("",       "client/allocation/:alloc_id/signal", "nomad.nomad.client_allocations.signal"),
    ("",       "client/allocation/:alloc_id/exec",  "nomad.nomad.alloc.exec"),
    ("GET",    "operator/scheduler/configuration",  "nomad.nomad.operator.scheduler_get_configuration"),
    ("",       "operator/scheduler/configuration",  "nomad.nomad.operator.scheduler_set_configuration"),
    ("",       "search",                            "nomad.nomad.search.prefix_search"),
];

fn name_of(method: &Method, pattern: &str) -> Option<&'static str> {
    let path = pattern.strip_prefix("/v1/")?;
    let row = NAMES.iter().find(|(of, known, _)| *known == path && (of.is_empty() || *of == method.as_str()));
    row.map(|(_, _, name)| *name)
}

/// What is asked for, by the first word of a path: the names of lists, reads and writes.
#[rustfmt::skip]
const CLASSES: &[(&[&str], [&str; 3])] = &[
    (&["jobs", "job", "validate"],           ["nomad.nomad.rpc.job.list", "nomad.nomad.rpc.job.read", "nomad.nomad.rpc.job.write"]),
    (&["nodes", "node"],                     ["nomad.nomad.rpc.node.list", "nomad.nomad.rpc.node.read", "nomad.nomad.rpc.node.write"]),
    (&["allocations", "allocation"],         ["nomad.nomad.rpc.alloc.list", "nomad.nomad.rpc.alloc.read", "nomad.nomad.rpc.alloc.write"]),
    (&["evaluations", "evaluation"],         ["nomad.nomad.rpc.eval.list", "nomad.nomad.rpc.eval.read", "nomad.nomad.rpc.eval.write"]),
    (&["deployments", "deployment"],         ["nomad.nomad.rpc.deployment.list", "nomad.nomad.rpc.deployment.read", "nomad.nomad.rpc.deployment.write"]),
    (&["namespaces", "namespace"],           ["nomad.nomad.rpc.namespace.list", "nomad.nomad.rpc.namespace.read", "nomad.nomad.rpc.namespace.write"]),
    (&["scaling"],                           ["nomad.nomad.rpc.scaling.list", "nomad.nomad.rpc.scaling.read", "nomad.nomad.rpc.scaling.write"]),
    (&["search"],                            ["nomad.nomad.rpc.search.list"; 3]),
    (&["status", "regions"],                 ["nomad.nomad.rpc.status.read"; 3]),
    (&["operator"],                          ["nomad.nomad.rpc.operator.list", "nomad.nomad.rpc.operator.read", "nomad.nomad.rpc.operator.write"]),
    (&["system"],                            ["nomad.nomad.rpc.system.write"; 3]),
];

/// The counter of what a request asks for; what a list is stands in the plural, or ends in what there are many of.
fn class_of(method: &Method, pattern: &str) -> Option<&'static str> {
    let path = pattern.strip_prefix("/v1/")?;
    let first = path.split('/').next()?;
    let (_, [list, read, write]) = CLASSES.iter().find(|(words, _)| words.contains(&first))?;
    Some(match (method == Method::GET, path.ends_with('s') && !path.contains(':')) {
        (true, true) => list,
        (true, false) => read,
        (false, _) => write,
    })
}

/// A request of that row was answered: counts it, and measures it where what it asks for has a name.
pub(crate) fn answered(method: &Method, pattern: &'static str, reply: &Reply, took: Duration) {
    drover_metrics::count("nomad.nomad.rpc.request", &[], 1.0);
    if method == Method::GET {
        drover_metrics::count("nomad.nomad.rpc.query", &[], 1.0);
    }
    if reply.status().is_server_error() {
        drover_metrics::count("nomad.nomad.rpc.request_error", &[], 1.0);
    }
    if let Some(class) = class_of(method, pattern) {
        drover_metrics::count(class, &[], 1.0);
    }
    if let Some(name) = name_of(method, pattern) {
        drover_metrics::duration(name, &[], took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ROUTES;

    #[test]
    fn every_name_is_of_a_row_of_the_table() {
        for (method, path, name) in NAMES {
            let fits = |route: &&crate::routes::Route| {
                route.pattern == format!("/v1/{path}")
                    && (method.is_empty() || route.methods.contains(method) || route.any_method)
            };
            assert!(ROUTES.iter().any(|route| fits(&route)), "{method} {path} {name}");
        }
        assert_eq!(name_of(&Method::GET, "/v1/jobs"), Some("nomad.nomad.job.list"));
        assert_eq!(name_of(&Method::PUT, "/v1/jobs"), Some("nomad.nomad.job.register"));
        assert_eq!(name_of(&Method::GET, "/v1/metrics"), None);
        assert_eq!(class_of(&Method::GET, "/v1/jobs"), Some("nomad.nomad.rpc.job.list"));
        assert_eq!(class_of(&Method::GET, "/v1/job/*job_id"), Some("nomad.nomad.rpc.job.read"));
        assert_eq!(class_of(&Method::PUT, "/v1/jobs"), Some("nomad.nomad.rpc.job.write"));
        assert_eq!(class_of(&Method::GET, "/v1/client/stats"), None);
    }
}
