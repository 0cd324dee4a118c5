use super::*;
use crate::router::{allow, find};

fn found(path: &str) -> Option<(&'static str, Vec<String>)> {
    let (rows, params) = find(path)?;
    Some((rows[0].pattern, params.into_iter().map(|(_, value)| value).collect()))
}

#[test]
fn paths_find_their_row() {
    let check = |path: &str, pattern: &str, params: &[&str]| {
        let (row, values) = found(path).unwrap_or_else(|| panic!("no route for {path}"));
        assert_eq!((row, values), (pattern, params.iter().map(|p| (*p).to_owned()).collect()), "{path}");
    };
    check("/v1/jobs", "/v1/jobs", &[]);
    check("/v1/job/web", "/v1/job/*job_id", &["web"]);
    check("/v1/job/par/dispatch-1-ab", "/v1/job/*job_id", &["par/dispatch-1-ab"]);
    check("/v1/job/a/b/allocations", "/v1/job/*job_id/allocations", &["a/b"]);
    check("/v1/job/x/nosuch", "/v1/job/*job_id", &["x/nosuch"]);
    check("/v1/job/plan", "/v1/job/*job_id", &["plan"]);
    check("/v1/job/a/b/dispatch", "/v1/job/*job_id/dispatch", &["a/b"]);
    check("/v1/job/a/b/dispatch/payload", "/v1/job/*job_id/dispatch/payload", &["a/b"]);
    check("/v1/job/a/periodic/force", "/v1/job/*job_id/periodic/force", &["a"]);
    check("/v1/job/a/versions/good/tag", "/v1/job/*job_id/versions/:tag_name/tag", &["a", "good"]);
    check("/v1/job/a/versions/good/more/tag", "/v1/job/*job_id/tag", &["a/versions/good/more"]);
    check("/v1/job/a/plan", "/v1/job/*job_id/plan", &["a"]);
    check("/v1/deployment/allocations/x", "/v1/deployment/allocations/:deployment_id", &["x"]);
    check("/v1/deployment/x", "/v1/deployment/:deployment_id", &["x"]);
    check("/v1/evaluations/count", "/v1/evaluations/count", &[]);
}

#[test]
fn what_is_not_answered_has_no_row() {
    for path in ["/", "/v1/nosuch", "/v1/jobs/", "/v1/job/", "/v1/job", "/v1/allocation/x/services", "/v1/node/x/drain"]
    {
        assert_eq!(found(path), None, "{path}");
    }
}

#[test]
fn methods_of_a_path() {
    let check = |path: &str, expected: &str| {
        let (rows, _) = find(path).unwrap();
        assert_eq!(allow(&rows), expected, "{path}");
    };
    check("/v1/jobs", "GET, PUT, POST");
    check("/v1/job/web", "GET, PUT, POST, DELETE");
    check("/v1/jobs/statuses", "GET, POST");
    check("/v1/job/web/summary", "GET");
}

#[test]
fn no_row_hides_another() {
    for (place, route) in ROUTES.iter().enumerate() {
        for other in &ROUTES[..place] {
            let same = other.pattern == route.pattern;
            let shared: Vec<_> = route.methods.iter().filter(|method| other.methods.contains(method)).collect();
            assert!(!same || shared.is_empty(), "{} {shared:?} stands twice", route.pattern);
        }
        // A row is reached by a path of its own pattern.
        let path = route.pattern.replace(['*', ':'], "");
        assert_eq!(found(&path).map(|(pattern, _)| pattern), Some(route.pattern));
    }
}
