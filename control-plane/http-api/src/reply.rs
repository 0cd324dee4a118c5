//! Answers: JSON bodies and the headers that tell how fresh they are.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use serde::Serialize;

use crate::problem::Problem;

const INDEX: HeaderName = HeaderName::from_static("x-nomad-index");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-nomad-lastcontact");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-nomad-knownleader");
const NEXT_TOKEN: HeaderName = HeaderName::from_static("x-nomad-nexttoken");

/// How fresh a read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The index to wait from.
    pub index: u64,
    /// How long ago the answering server heard the leader.
    pub last_contact: Duration,
    /// Somebody leads.
    pub known_leader: bool,
}

impl Meta {
    /// Sets the headers of a read.
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.insert(INDEX, HeaderValue::from(self.index));
        let millis = u64::try_from(self.last_contact.as_millis()).unwrap_or(u64::MAX);
        headers.insert(LAST_CONTACT, HeaderValue::from(millis));
        headers.insert(KNOWN_LEADER, HeaderValue::from_static(if self.known_leader { "true" } else { "false" }));
    }
}

/// An answer.
pub type Reply = Response<Body>;

/// A value as JSON text; `pretty` indents it and ends it with a newline.
///
/// # Errors
/// The value is none that JSON can hold: a fault of ours.
pub fn encode(value: &impl Serialize, pretty: bool) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    let done = if pretty {
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
    } else {
        serde_json::to_writer(&mut text, value)
    };
    done.map_err(|error| {
        tracing::error!(%error, "answer is no JSON");
        Problem::Failed("answer can't be written as JSON".to_owned())
    })?;
    if pretty {
        text.push(b'\n');
    }
    Ok(text)
}

/// JSON text as an answer.
pub fn json_text(text: Vec<u8>) -> Reply {
    let mut reply = Response::new(Body::from(text));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// A value without an index: what the agent says of itself.
///
/// # Errors
/// As [`encode`].
pub fn plain(value: &impl Serialize, pretty: bool) -> Result<Reply, Problem> {
    Ok(json_text(encode(value, pretty)?))
}

/// A value that was read from the state.
pub fn read(text: Vec<u8>, meta: Meta, next_token: Option<&str>) -> Reply {
    let mut reply = json_text(text);
    meta.put(reply.headers_mut());
    // A job's id need not be ASCII: its bytes go as they are.
    if let Some(token) = next_token.and_then(|token| HeaderValue::from_bytes(token.as_bytes()).ok()) {
        reply.headers_mut().insert(NEXT_TOKEN, token);
    }
    reply
}

/// The answer to a write at that index that has nothing to tell.
pub fn done_at(index: u64) -> Reply {
    let mut reply = Response::new(Body::empty());
    reply.headers_mut().insert(INDEX, HeaderValue::from(index));
    reply
}

/// The answer to a write at that index.
///
/// # Errors
/// As [`encode`].
pub fn written(value: &impl Serialize, index: u64, pretty: bool) -> Result<Reply, Problem> {
    let mut reply = plain(value, pretty)?;
    reply.headers_mut().insert(INDEX, HeaderValue::from(index));
    Ok(reply)
}
