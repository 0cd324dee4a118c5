//! From a request to its handler: decodes the path, finds the row of the table, checks method and region.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};

use crate::api::Api;
use crate::call::Call;
use crate::measured;
use crate::path::{self, Params};
use crate::problem::{self, Problem};
use crate::query::Query;
use crate::region::{self, Whose};
use crate::reply::Reply;
use crate::routes::{NOT_SERVED, ROUTES, Route};

/// The API as a service. Who sent a request is taken from its [`ConnectInfo`]; without one it counts as handed on.
pub fn router(api: Api) -> Router {
    let api = Arc::new(api);
    Router::new().fallback(move |request: Request| {
        let api = Api::clone(&api);
        async move { answer(api, request).await }
    })
}

/// The rows of the first pattern that matches the path.
pub(crate) fn find(path: &str) -> Option<(Vec<&'static Route>, Params)> {
    if NOT_SERVED.iter().any(|pattern| path::matches(pattern, path).is_some()) {
        return None;
    }
    let (first, params) =
        ROUTES.iter().find_map(|route| path::matches(route.pattern, path).map(|params| (route, params)))?;
    Some((ROUTES.iter().filter(|route| route.pattern == first.pattern).collect(), params))
}

async fn answer(api: Api, request: Request) -> Reply {
    match dispatch(api, request).await {
        Ok(reply) => reply,
        Err(problem) => problem.into_response(),
    }
}

async fn dispatch(api: Api, request: Request) -> Result<Reply, Problem> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let path = path::decode(parts.uri.path()).ok_or_else(|| Problem::Invalid("path is not valid".to_owned()))?;
    let no_route = || Problem::NoRoute(format!("no route for {} {path}", parts.method));
    let (rows, params) = find(&path).ok_or_else(no_route)?;
    let shared = rows.iter().any(|row| row.is_shared);
    if parts.method == Method::OPTIONS {
        return Ok(options(&rows, shared, &parts.headers));
    }
    let Some(row) = rows.iter().find(|row| row.takes(&parts.method)) else {
        return Err(Problem::Method(allow(&rows)));
    };
    let query = Query::parse(parts.uri.query());
    let body = match region::of(row.regions, &api.server.info().region, &parts, &query, body).await? {
        Whose::Own(body) => body,
        Whose::Other { region, body } => return region::hand_on(&api.server, &region, parts, body).await,
    };
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let origin = parts.headers.get(header::ORIGIN).cloned();
    let (method, began) = (parts.method.clone(), std::time::Instant::now());
    let call = Call {
        api,
        method: parts.method,
        params,
        query,
        headers: parts.headers,
        peer,
        body: Mutex::new(body),
        upgrade,
    };
    let mut reply = (row.handler)(call).await.unwrap_or_else(Problem::into_response);
    measured::answered(&method, row.pattern, &reply, began.elapsed());
    if let Some(origin) = origin.filter(|_| shared) {
        share(reply.headers_mut(), origin);
    }
    Ok(reply)
}

/// The methods of a path, as `Allow` lists them.
pub(crate) fn allow(rows: &[&Route]) -> String {
    let mut methods: Vec<&str> = rows.iter().flat_map(|row| row.methods.iter().copied()).collect();
    methods.dedup();
    methods.join(", ")
}

/// What may be done with a path. A browser that asks before it calls is told that it may, where pages of other
/// origins are let in.
fn options(rows: &[&Route], shared: bool, headers: &HeaderMap) -> Reply {
    let mut reply: Response<_> = problem::no_content();
    let methods = allow(rows);
    let to = reply.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&methods) {
        to.insert(header::ALLOW, value);
    }
    let asked = headers.get(header::ORIGIN).filter(|_| headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD));
    if let (true, Some(origin)) = (shared, asked) {
        share(to, origin.clone());
        to.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("HEAD, GET"));
        if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            to.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
    }
    reply
}

fn share(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
}
