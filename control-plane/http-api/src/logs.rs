//! The log of a task: read by the edge that has it, handed on as it comes.
//!
//! It travels as JSON objects one after the other (`Data`, `File`, `Offset`; an empty one now and then as a sign of
//! life), or as it is with `plain`.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drover_model::AllocId;
use drover_server::edge_reads::{LogChunk, LogStream, ReadLogs};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::allocs::LOOKED_UP;
use crate::call::Call;
use crate::ids;
use crate::problem::Problem;
use crate::reply::Reply;

/// The wait before a sign of life, when a log is followed and nothing is written.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
/// Chunks under way between the edge's stream and the HTTP connection. A slow reader holds the edge's stream up, and
/// nothing is buffered beyond it.
const CHUNKS_MAX: usize = 4;

pub(crate) async fn read(call: Call) -> Result<Reply, Problem> {
    let request = request(&call)?;
    let plain = flag(&call, "plain")?;
    check_task(&call, &request)?;
    let follow = request.follow;
    let logs = call.api.server.read_logs(request).await?;
    let (tx, rx) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(forward(logs, tx));
    let body = futures_util::stream::unfold((rx, false), move |(mut rx, ended)| async move {
        if ended {
            return None;
        }
        let next = async { rx.recv().await };
        let piece = if follow && !plain {
            match tokio::time::timeout(SIGN_OF_LIFE, next).await {
                Ok(piece) => piece?,
                Err(_) => Piece::Chunk(LogChunk::default()),
            }
        } else {
            next.await?
        };
        let ended = matches!(piece, Piece::Failed(_));
        Some((Ok::<_, Infallible>(piece.encode(plain)), (rx, ended)))
    });
    let mut reply = Response::new(Body::from_stream(body));
    let kind = if plain { "text/plain" } else { "application/json" };
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(reply)
}

/// A part of the answer.
enum Piece {
    Chunk(LogChunk),
    /// The status is sent already: the text ends the body.
    Failed(String),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Frame<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
}

fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

impl Piece {
    fn encode(self, plain: bool) -> Bytes {
        match self {
            Piece::Failed(text) => text.into(),
            Piece::Chunk(chunk) if plain => chunk.data.into(),
            // A sign of life says nothing else.
            Piece::Chunk(chunk) if chunk.data.is_empty() => Bytes::from_static(b"{}"),
            Piece::Chunk(chunk) => {
                let frame = Frame { data: STANDARD.encode(&chunk.data), file: &chunk.file, offset: chunk.offset };
                serde_json::to_vec(&frame).unwrap_or_default().into()
            }
        }
    }
}

/// Hands chunks on until the log ends or nobody reads any more.
async fn forward(mut logs: LogStream, tx: mpsc::Sender<Piece>) {
    loop {
        let next = tokio::select! {
            next = logs.next() => next,
            () = tx.closed() => return,
        };
        let piece = match next {
            Ok(None) => return,
            // The connection's own signs of life are timed where they are sent.
            Ok(Some(chunk)) if chunk.data.is_empty() => continue,
            Ok(Some(chunk)) => Piece::Chunk(chunk),
            Err(error) => Piece::Failed(error.to_string()),
        };
        let last = matches!(piece, Piece::Failed(_));
        if tx.send(piece).await.is_err() || last {
            return;
        }
    }
}

fn flag(call: &Call, name: &str) -> Result<bool, Problem> {
    let wrong = |bad: crate::query::BadBool| format!("failed to parse {name} field to boolean: {}", bad.text());
    call.query.flag(name, false).map_err(|bad| Problem::Invalid(wrong(bad)))
}

fn request(call: &Call) -> Result<ReadLogs, Problem> {
    let invalid = |text: &str| Problem::Invalid(text.to_owned());
    let task = call.query.text("task");
    if task.is_empty() {
        return Err(invalid("must provide task name"));
    }
    let follow = flag(call, "follow")?;
    let stream = call.query.text("type");
    if !matches!(stream, "stdout" | "stderr") {
        return Err(invalid("must provide log type (stdout/stderr)"));
    }
    let offset = match call.query.text("offset") {
        "" => 0,
        text => text.parse::<i64>().map_err(|_| {
            Problem::Invalid(format!("error parsing offset: strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?,
    };
    let offset = u64::try_from(offset).map_err(|_| invalid("offset must not be negative"))?;
    let from_end = match call.query.text("origin") {
        "" | "start" => false,
        "end" => true,
        _ => return Err(invalid("origin must be start or end")),
    };
    let alloc_id: AllocId = ids::parse(call.param("alloc_id"), LOOKED_UP)?;
    Ok(ReadLogs { alloc_id, task: task.to_owned(), stream: stream.to_owned(), offset, from_end, follow })
}

/// A task that the alloc does not have needs no edge to be refused.
fn check_task(call: &Call, request: &ReadLogs) -> Result<(), Problem> {
    let snapshot = call.api.server.reading().snapshot;
    let unknown = || Problem::NotFound(format!("Unknown allocation \"{}\"", request.alloc_id));
    let alloc = snapshot.alloc(request.alloc_id).ok_or_else(unknown)?;
    let group = snapshot.job_of_alloc(alloc).and_then(|job| job.group(&alloc.task_group));
    match group.map(|group| group.task(&request.task)) {
        Some(None) => Err(Problem::Invalid(format!("unknown task name {:?}", request.task))),
        Some(Some(_)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_log() {
        let chunk = || LogChunk {
            data: b"line 7\n".to_vec(),
            file: "alloc/logs/loop.stdout.0".into(),
            offset: 56,
            ..LogChunk::default()
        };
        let check = |piece: Piece, plain: bool, expected: &str| assert_eq!(piece.encode(plain), expected);
        check(Piece::Chunk(chunk()), false, r#"{"Data":"bGluZSA3Cg==","File":"alloc/logs/loop.stdout.0","Offset":56}"#);
        check(Piece::Chunk(chunk()), true, "line 7\n");
        check(Piece::Chunk(LogChunk::default()), false, "{}");
        check(Piece::Failed("the node is gone".into()), false, "the node is gone");
    }
}
