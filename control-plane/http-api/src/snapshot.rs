//! The state as a file: saved while it is sent, and taken back. Neither is ever held in memory whole here.
//!
//! Any server answers: it saves what it has once that is surely the newest, and hands a restore to the leader.

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drover_server::snapshots::{SNAPSHOT_BYTES_MAX, SavedSnapshot};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::call::Call;
use crate::problem::{self, Problem};
use crate::reply::Reply;

const DIGEST: HeaderName = HeaderName::from_static("digest");
/// Pieces under way to the reader.
const PIECES_MAX: usize = 2;
/// How long a reader may take nothing, and a sender send nothing.
const PIECE_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a snapshot that is to be restored may take to come.
const BODY_TIME_MAX: Duration = Duration::from_secs(3600);

pub(crate) async fn save(call: Call) -> Result<Reply, Problem> {
    // The parameter's being there is enough.
    let stale = call.query.get("stale").is_some_and(|value| value != "false");
    let saved = call.api.server.save_snapshot(stale).await?;
    let (length, digest) = (saved.info.len, format!("sha-256={}", STANDARD.encode(saved.digest)));
    let (tx, rx) = mpsc::channel(PIECES_MAX);
    tokio::spawn(send(saved, tx));
    let body = futures_util::stream::unfold(rx, |mut rx| async move { Some((rx.recv().await?, rx)) });
    let mut reply = Response::new(Body::from_stream(body));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // A reader that gets less knows that it was cut short.
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers
        .insert(DIGEST, HeaderValue::try_from(digest).map_err(|_| Problem::Failed("digest is no header".to_owned()))?);
    Ok(reply)
}

async fn send(saved: SavedSnapshot, to: mpsc::Sender<io::Result<Bytes>>) {
    let mut at = 0;
    loop {
        let piece = saved.piece(at).await;
        if matches!(&piece, Ok(bytes) if bytes.is_empty()) {
            return;
        }
        at += piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let is_last = piece.is_err();
        // A reader that takes nothing for so long gets no more.
        let taken = tokio::time::timeout(PIECE_TIME_MAX, to.send(piece)).await;
        if is_last || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

pub(crate) async fn restore(mut call: Call) -> Result<Reply, Problem> {
    let failed = |text: &str| Problem::Failed(format!("failed to restore from snapshot: {text}"));
    let length = call.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > SNAPSHOT_BYTES_MAX) {
        return Err(Problem::TooLarge(format!("snapshot too large: at most {SNAPSHOT_BYTES_MAX} bytes are taken")));
    }
    let server = call.api.server.clone();
    let mut incoming = server.incoming_snapshot().await.map_err(|error| failed(&error.to_string()))?;
    let body = std::mem::take(call.body.get_mut().unwrap_or_else(PoisonError::into_inner));
    let take = async {
        let mut pieces = body.into_data_stream();
        loop {
            let late = |_| Problem::TooSlow("snapshot did not come in time".to_owned());
            let Some(piece) = tokio::time::timeout(PIECE_TIME_MAX, pieces.next()).await.map_err(late)? else {
                return Ok::<(), Problem>(());
            };
            let piece = piece.map_err(|error| failed(&format!("failed to read snapshot file: {error}")))?;
            incoming.append(piece).await.map_err(|error| failed(&error.to_string()))?;
        }
    };
    let taken = tokio::time::timeout(BODY_TIME_MAX, take).await;
    taken.map_err(|_| Problem::TooSlow("snapshot did not come in time".to_owned()))??;
    // A caller that hangs up must not stop a restore half way.
    let restored = tokio::spawn(async move { server.restore_snapshot(incoming).await });
    let restored = restored.await.map_err(|error| failed(&error.to_string()))?;
    restored.map_err(|error| failed(Problem::from(error).text()))?;
    Ok(problem::done())
}
