//! Requests that travel over an edge's connection: handed on by a client-only agent, answered by a server.
//!
//! A request that was handed on has no peer: what only callers on the server's own host may do, it may not.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, header};
use bytes::Bytes;
use drover_server::edge_reads::{HttpHead, HttpRequest, RpcError};
use drover_server::forward::{ForwardHandler, ForwardedAnswer};
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::api::Api;
use crate::body;
use crate::control::AgentControl;
use crate::metrics;
use crate::options::ServeOptions;
use crate::own_agent;
use crate::problem::{self, Problem};
use crate::reply::Reply;
use crate::router::router;
use crate::serve::serve_router;

/// Parts of an answer under way. A slow reader holds the sender up.
const PARTS_MAX: usize = 4;

/// An answer under way: its head, and its body in parts; or why there is none.
pub type Relaying = Pin<Box<dyn Future<Output = Result<(HttpHead, mpsc::Receiver<Bytes>), RpcError>> + Send>>;
/// What hands a request on. Made of words that an edge knows as well.
pub type Forwarder = Arc<dyn Fn(HttpRequest) -> Relaying + Send + Sync>;

/// Headers that are about one connection and not about the request.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Serves the API of a client-only agent until `shutdown` is done: every request is handed on, but what is asked of the agent itself.
///
/// # Errors
/// The listener can't be used.
pub async fn relay(
    listener: TcpListener,
    forwarder: Forwarder,
    control: Option<Arc<dyn AgentControl>>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let service = Router::new().fallback(move |request: Request| {
        let (forwarder, control) = (Arc::clone(&forwarder), control.clone());
        async move {
            let reply = match request.uri().path() {
                // The figures are this agent's own.
                metrics::PATH => metrics::answer_locally(&request),
                _ => match own_agent::answer_locally(control.as_ref(), request.method(), request.uri()).await {
                    Some(reply) => reply,
                    None => hand_on(&forwarder, request).await,
                },
            };
            reply.unwrap_or_else(Problem::into_response)
        }
    });
    serve_router(listener, service, options, shutdown).await
}

async fn hand_on(forwarder: &Forwarder, request: Request) -> Result<Reply, Problem> {
    let (parts, body) = request.into_parts();
    let request = request_of(parts, body).await?;
    let (head, body) = forwarder(request).await.map_err(|error| Problem::Failed(error.to_string()))?;
    let stream = futures_util::stream::unfold(body, |mut body| async move {
        let part = body.recv().await?;
        Some((Ok::<_, io::Error>(part), body))
    });
    Ok(reply_of(head, Body::from_stream(stream)))
}

/// A request as it travels: without what is about this connection.
///
/// # Errors
/// The body is too large or too slow.
pub(crate) async fn request_of(parts: Parts, body: Body) -> Result<HttpRequest, Problem> {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let kept = parts.headers.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name));
    Ok(HttpRequest {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        headers: kept.filter_map(|(name, value)| Some((name.to_string(), text(value)?))).collect(),
        body: body::read(&parts.headers, body).await?,
    })
}

/// The answer that came back.
pub(crate) fn reply_of(head: HttpHead, body: Body) -> Reply {
    let mut reply = Response::new(body);
    problem::set_status(&mut reply, head.status);
    for (name, value) in head.headers {
        let pair = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value)) = pair
            && !HOP_BY_HOP.contains(&name)
        {
            reply.headers_mut().append(name, value);
        }
    }
    reply
}

/// What answers requests that edges hand on to this server.
pub fn forward_handler(api: Api) -> ForwardHandler {
    let service = router(api);
    Box::new(move |request| {
        let service = service.clone();
        Box::pin(async move {
            let reply = match build(request) {
                Ok(request) => call(service, request).await,
                Err(problem) => problem.into_response(),
            };
            answer_of(reply)
        })
    })
}

fn build(request: HttpRequest) -> Result<Request, Problem> {
    let invalid = |_| Problem::Invalid("request that was handed on is not valid".to_owned());
    let mut builder = Request::builder().method(request.method.as_str()).uri(request.target);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    builder.body(Body::from(request.body)).map_err(invalid)
}

async fn call(mut service: Router, request: Request) -> Reply {
    tower_service::Service::call(&mut service, request).await.unwrap_or_else(|never| match never {})
}

fn answer_of(reply: Reply) -> ForwardedAnswer {
    let (parts, body) = reply.into_parts();
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let head = HttpHead { status: parts.status.as_u16(), headers: parts.headers.iter().filter_map(text).collect() };
    let (tx, rx) = mpsc::channel::<Bytes>(PARTS_MAX);
    tokio::spawn(async move {
        let mut stream = body.into_data_stream();
        loop {
            let part = tokio::select! {
                part = stream.next() => part,
                // Nobody reads any more.
                () = tx.closed() => return,
            };
            let Some(Ok(part)) = part else { return };
            if tx.send(part).await.is_err() {
                return;
            }
        }
    });
    ForwardedAnswer { head, body: rx }
}
