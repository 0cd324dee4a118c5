//! Files of an alloc, read by the edge that has them: lists, one file, its bytes at once or as they come.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drover_model::AllocId;
use drover_server::edge_reads::{FileInfo, FilesRequest, FilesWanted, LogChunk, LogStream};
use serde_json::{Value, json};

use crate::allocs::LOOKED_UP;
use crate::call::Call;
use crate::ids;
use crate::problem::Problem;
use crate::reply::Reply;

fn alloc_id(call: &Call) -> Result<AllocId, Problem> {
    ids::parse(call.param("alloc_id"), LOOKED_UP)
}

/// The path, which must be there.
fn file_name(call: &Call) -> Result<String, Problem> {
    match call.query.text("path") {
        "" => Err(Problem::Invalid("must provide a file name".to_owned())),
        path => Ok(path.to_owned()),
    }
}

fn number(name: &str, text: &str) -> Result<u64, Problem> {
    let wrong = || format!("error parsing {name}: strconv.ParseInt: parsing {text:?}: invalid syntax");
    let number = text.parse::<i64>().map_err(|_| Problem::Failed(wrong()))?;
    // Before the start is the start.
    Ok(u64::try_from(number).unwrap_or(0))
}

fn view(file: &FileInfo) -> Value {
    let mut view = json!({
        "Name": file.name,
        "IsDir": file.is_dir,
        "Size": file.size,
        "FileMode": file.mode,
        "ModTime": file.modified.to_rfc3339(),
    });
    if !file.content_type.is_empty() {
        view["ContentType"] = json!(file.content_type);
    }
    view
}

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    let path = match call.query.text("path") {
        "" => "/",
        path => path,
    };
    let files = call.api.server.list_files(alloc_id(&call)?, path).await?;
    call.plain(&files.iter().map(view).collect::<Vec<_>>())
}

pub(crate) async fn stat(call: Call) -> Result<Reply, Problem> {
    let path = file_name(&call)?;
    let file = call.api.server.stat_file(alloc_id(&call)?, &path).await?;
    call.plain(&view(&file))
}

/// All of a file. Clients expect 200 whatever happens: what went wrong is the body.
pub(crate) async fn cat(call: Call) -> Result<Reply, Problem> {
    Ok(bytes(&call, Ok((0, None))).await)
}

/// A part of a file, with the same habit.
pub(crate) async fn read_at(call: Call) -> Result<Reply, Problem> {
    let offset = number("offset", call.query.text("offset"));
    let limit = match call.query.text("limit") {
        "" => Ok(None),
        text => number("limit", text).map(Some),
    };
    let part = offset.and_then(|offset| Ok((offset, limit?.filter(|limit| *limit > 0))));
    Ok(bytes(&call, part).await)
}

async fn bytes(call: &Call, part: Result<(u64, Option<u64>), Problem>) -> Reply {
    let opened = async {
        let path = file_name(call)?;
        let alloc_id = alloc_id(call)?;
        let (offset, bytes_max) = part?;
        let file = call.api.server.stat_file(alloc_id, &path).await?;
        let wanted = FilesWanted::Read { offset, from_end: false, bytes_max, follow: false };
        let stream = call.api.server.read_file(FilesRequest { alloc_id, path, wanted }).await?;
        Ok::<_, Problem>((file.content_type, stream))
    };
    let (kind, body) = match opened.await {
        // What a browser could run is only shown.
        Ok((kind, stream)) if kind.starts_with("text/plain") => ("text/plain; charset=utf-8", body(stream, plain)),
        Ok((_, stream)) => ("application/octet-stream", body(stream, plain)),
        Err(problem) => ("text/plain; charset=utf-8", Body::from(problem.text().to_owned())),
    };
    let mut reply = Response::new(body);
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// A file as JSON frames, and what is added to it.
pub(crate) async fn stream(call: Call) -> Result<Reply, Problem> {
    let path = file_name(&call)?;
    let offset = match call.query.text("offset") {
        "" => 0,
        text => number("offset", text)?,
    };
    let from_end = match call.query.text("origin") {
        "" | "start" => false,
        "end" => true,
        _ => return Err(Problem::Invalid("origin must be start or end".to_owned())),
    };
    let wrong = |bad: crate::query::BadBool| format!("failed to parse follow field to boolean: {}", bad.text());
    let follow = call.query.flag("follow", true).map_err(|bad| Problem::Invalid(wrong(bad)))?;
    let wanted = FilesWanted::Read { offset, from_end, bytes_max: None, follow };
    let request = FilesRequest { alloc_id: alloc_id(&call)?, path, wanted };
    let frames = call.api.server.read_file(request).await.map_err(|error| match error {
        // Of this route alone: what is not there, and what leads out, is a wrong request.
        drover_server::Error::NotFound(text) if !text.starts_with("Unknown") => Problem::Invalid(text),
        drover_server::Error::Unavailable(text) if text.starts_with("Path") => Problem::Invalid(text),
        other => other.into(),
    })?;
    let mut reply = Response::new(body(frames, frame));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(reply)
}

/// Pulls chunks only as fast as the body is read.
fn body(stream: LogStream, encode: fn(LogChunk) -> Bytes) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(chunk)) => Some((Ok::<_, Infallible>(encode(chunk)), Some(stream))),
            Ok(None) => None,
            // The status is sent already: the text ends the body.
            Err(error) => Some((Ok(error.to_string().into()), None)),
        }
    }))
}

fn plain(chunk: LogChunk) -> Bytes {
    chunk.data.into()
}

fn frame(chunk: LogChunk) -> Bytes {
    let mut frame = serde_json::Map::new();
    if !chunk.data.is_empty() {
        frame.insert("Data".to_owned(), json!(STANDARD.encode(&chunk.data)));
    }
    if !chunk.data.is_empty() || !chunk.event.is_empty() {
        frame.insert("File".to_owned(), json!(chunk.file));
    }
    if !chunk.event.is_empty() {
        frame.insert("FileEvent".to_owned(), json!(chunk.event));
    }
    if chunk.offset != 0 {
        frame.insert("Offset".to_owned(), json!(chunk.offset));
    }
    Value::Object(frame).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_those_of_the_field() {
        let check = |chunk: LogChunk, expected: &str| assert_eq!(frame(chunk), expected);
        let data = LogChunk { data: b"hello 0\n".to_vec(), file: "srv/f".into(), offset: 8, event: String::new() };
        check(data, r#"{"Data":"aGVsbG8gMAo=","File":"srv/f","Offset":8}"#);
        check(LogChunk::default(), "{}");
        let gone = LogChunk { file: "srv/f".into(), event: "file deleted".into(), ..LogChunk::default() };
        check(gone, r#"{"File":"srv/f","FileEvent":"file deleted"}"#);
        assert_eq!(number("offset", "-3"), Ok(0));
        let text = "error parsing offset: strconv.ParseInt: parsing \"zz\": invalid syntax";
        assert_eq!(number("offset", "zz"), Err(Problem::Failed(text.to_owned())));
    }
}
