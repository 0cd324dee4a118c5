//! What is asked of one agent and not of the region: its log as it is written, its host, its configuration.
//!
//! `server_id` names another server of the region, which is asked then. The agent of a client tells of itself where it is asked itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, Uri, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drover_server::Member;
use drover_server::edge_reads::HttpRequest;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::control::{AgentControl, LogWanted};
use crate::host::HostData;
use crate::problem::{self, Problem};
use crate::query::Query;
use crate::relay;
use crate::reply::{self, Reply};

/// Their paths.
pub(crate) const MONITOR: &str = "/v1/agent/monitor";
pub(crate) const HOST: &str = "/v1/agent/host";
pub(crate) const RELOAD: &str = "/v1/agent/reload";

/// The wait before a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// The header by which a caller is known.
const TOKEN: &str = "x-nomad-token";

/// Whose log or host is meant.
enum Whose {
    /// This agent's.
    Own,
    /// That of the server with this id.
    Server(String),
}

/// Follows a log.
pub(crate) async fn monitor(call: Call) -> Result<Reply, Problem> {
    let (wanted, plain) = log_wanted(&call.query)?;
    match whose(&call, "Cannot target node and server simultaneously")? {
        Whose::Own => followed(control(&call)?, wanted, plain),
        Whose::Server(id) => {
            let target =
                format!("{MONITOR}?log_level={}&log_json={}&plain={plain}&server_id={id}", wanted.level, wanted.json);
            hand_on(&call, &id, target).await
        }
    }
}

/// Tells of a host.
pub(crate) async fn host(call: Call) -> Result<Reply, Problem> {
    check_debug(control(&call)?)?;
    let is_named = !call.query.text("node_id").is_empty() || !call.query.text("server_id").is_empty();
    let own_id = &call.api.server.info().id;
    match whose(&call, "Can only forward to either client node or server")? {
        Whose::Own => host_data(&call.query, is_named.then_some(own_id)).await,
        Whose::Server(id) => {
            let target = format!("{HOST}?server_id={id}");
            hand_on(&call, &id, target).await
        }
    }
}

/// Reads the configuration again. Nobody's agent does so for who asks another one.
pub(crate) async fn reload(call: Call) -> Result<Reply, Problem> {
    if call.peer.is_none() {
        return Err(Problem::Forbidden("only an agent that is asked itself reads its configuration again".to_owned()));
    }
    reloaded(control(&call)?).await
}

/// The same of an agent that hands all else on to a server; nothing where that is what this is for.
pub(crate) async fn answer_locally(
    control: Option<&Arc<dyn AgentControl>>,
    method: &Method,
    uri: &Uri,
) -> Option<Result<Reply, Problem>> {
    let control = &**control?;
    let query = Query::parse(uri.query());
    if !query.text("server_id").is_empty() || !query.text("node_id").is_empty() {
        return None;
    }
    let (is_get, is_write) = (method == Method::GET, matches!(*method, Method::PUT | Method::POST));
    Some(match uri.path() {
        MONITOR => log_wanted(&query).and_then(|(wanted, plain)| followed(control, wanted, plain)),
        HOST if is_get => match check_debug(control) {
            Ok(()) => host_data(&query, None).await,
            Err(problem) => Err(problem),
        },
        RELOAD if is_write => reloaded(control).await,
        // The server says which methods there are.
        _ => return None,
    })
}

fn control(call: &Call) -> Result<&dyn AgentControl, Problem> {
    let control = call.api.control.as_deref();
    control.ok_or_else(|| Problem::Failed("this server has no agent around it".to_owned()))
}

fn check_debug(control: &dyn AgentControl) -> Result<(), Problem> {
    if control.is_debug() { Ok(()) } else { Err(Problem::Forbidden("Permission denied".to_owned())) }
}

/// Which lines, and whether as they are.
fn log_wanted(query: &Query) -> Result<(LogWanted, bool), Problem> {
    let level = match query.text("log_level") {
        "" => tracing::Level::INFO,
        text => {
            let level =
                Some(text).filter(|text| text.chars().all(char::is_alphabetic)).and_then(|text| text.parse().ok());
            level.ok_or_else(|| Problem::Invalid(format!("Unknown log level: {text}")))?
        }
    };
    let flag = |name: &str| {
        let wrong = |_| Problem::Invalid(format!("failed to parse {name:?} as a boolean value"));
        query.flag(name, false).map_err(wrong)
    };
    Ok((LogWanted { level, json: flag("log_json")? }, flag("plain")?))
}

/// The agent that is meant by `node_id` or `server_id`.
fn whose(call: &Call, both: &str) -> Result<Whose, Problem> {
    let (node, server) = (call.query.text("node_id"), call.query.text("server_id"));
    if !node.is_empty() && !server.is_empty() {
        return Err(Problem::Invalid(both.to_owned()));
    }
    if !node.is_empty() {
        let is_own = call.api.agent.node_id.is_some_and(|own| own.to_string() == node);
        let text = "another client's agent tells this only where it is asked itself (-address)";
        return if is_own { Ok(Whose::Own) } else { Err(Problem::Failed(text.to_owned())) };
    }
    let own = call.api.server.info();
    if server.is_empty() || server == own.id {
        return Ok(Whose::Own);
    }
    let peers = call.api.server.raft_peers();
    let leader = peers.iter().find(|peer| peer.is_leader && server == "leader").map(|peer| peer.id.clone());
    let directory = call.api.server.membership().directory();
    let is_named = |member: &&Member| member.id == server || member.name == server || member.full_name() == server;
    let named = directory.of_region(&own.region).iter().find(is_named);
    match leader.or_else(|| named.map(|member| member.id.clone())) {
        Some(id) if id == own.id => Ok(Whose::Own),
        Some(id) => Ok(Whose::Server(id)),
        None => Err(Problem::Invalid(format!("unknown Nomad server {server}"))),
    }
}

async fn hand_on(call: &Call, id: &str, target: String) -> Result<Reply, Problem> {
    let token = call.headers.get(TOKEN).and_then(|token| token.to_str().ok());
    let headers = token.map(|token| (TOKEN.to_owned(), token.to_owned())).into_iter().collect();
    let request = HttpRequest { method: Method::GET.to_string(), target, headers, body: Vec::new() };
    let answer = call.api.server.forward_to_server(id, request).await?;
    let parts = unfold(answer.body, |mut body| async move {
        let part = body.recv().await?;
        Some((part, body))
    });
    Ok(relay::reply_of(answer.head, Body::from_stream(parts)))
}

fn followed(control: &dyn AgentControl, wanted: LogWanted, plain: bool) -> Result<Reply, Problem> {
    let too_many = || Problem::Failed("too many follow the log of this agent already".to_owned());
    let lines = control.follow_log(wanted).ok_or_else(too_many)?;
    // What is sent at once shows that it is followed from now on.
    let first = if plain { None } else { Some(Bytes::from_static(b"{}")) };
    let body = unfold((lines, 0_u64, first), move |(mut lines, offset, first)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(first), (lines, offset, None)));
        }
        let (piece, offset) =
            if plain { (lines.recv().await?.into(), offset) } else { frame(&mut lines, offset).await? };
        Some((Ok(piece), (lines, offset, None)))
    });
    let mut reply = Response::new(Body::from_stream(body));
    let kind = if plain { "text/plain" } else { "application/json" };
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(reply)
}

/// The next line as a frame, or a sign of life, and how many bytes were told by then.
async fn frame(lines: &mut mpsc::Receiver<String>, offset: u64) -> Option<(Bytes, u64)> {
    match tokio::time::timeout(SIGN_OF_LIFE, lines.recv()).await {
        Err(_) => Some((Bytes::from_static(b"{}"), offset)),
        Ok(line) => {
            let line = line?;
            let offset = offset + line.len() as u64;
            let frame = json!({ "Data": STANDARD.encode(line), "Offset": offset });
            Some((frame.to_string().into(), offset))
        }
    }
}

async fn host_data(query: &Query, id: Option<&String>) -> Result<Reply, Problem> {
    let failed = |error: tokio::task::JoinError| Problem::Failed(error.to_string());
    let data = tokio::task::spawn_blocking(HostData::read).await.map_err(failed)?;
    match id {
        Some(id) => reply::plain(&json!({ "AgentID": id, "HostData": data }), query.is_pretty()),
        None => reply::plain(&data, query.is_pretty()),
    }
}

async fn reloaded(control: &dyn AgentControl) -> Result<Reply, Problem> {
    match control.reload().await {
        Ok(()) => Ok(problem::done()),
        Err(reason) => Err(Problem::Failed(format!("configuration not reloaded: {reason}"))),
    }
}
