//! A command inside a task over a WebSocket: JSON frames in both directions, handed on to the edge that has the task.
//!
//! ```text
//! caller --{"stdin":{"data":…}}, {"tty_size":…}--> here --ExecInput--> edge
//! caller <--{"stdout":{"data":…}}, {"exited":true,…}-- here <--ExecOutput-- edge
//! ```
//! Nothing is buffered beyond one message per direction: who does not read holds the command up.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drover_model::AllocId;
use drover_server::edge_reads::{EXEC_BYTES_MAX, ExecInput, ExecOutput, ExecReceiver, ExecRequest, ExecSender};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::allocs::LOOKED_UP;
use crate::api::Api;
use crate::call::Call;
use crate::ids;
use crate::problem::{Problem, switching};
use crate::query::Query;
use crate::reply::Reply;

/// A sign of life goes out after this silence.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a caller may take to say who it is.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A caller of whom nothing at all comes for this long is gone: with each of our signs of life it is asked for one.
const SILENCE_MAX: Duration = Duration::from_secs(300);
/// How long a last message may take to be sent.
const LAST_WORD_MAX: Duration = Duration::from_secs(5);
/// What goes wrong on our side, and everything else.
const CODE_FAILED: u16 = 1011;
const CODE_REFUSED: u16 = 1008;

/// The longest message that is taken, in bytes.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// What is read at once, in bytes; kept for as long as the session lasts.
const READ_BYTES: usize = 8 << 10;
/// The longest text of a close frame, in bytes: a control frame carries 125, two of them for the code.
const CLOSE_TEXT_BYTES_MAX: usize = 123;

/// An upgraded connection.
type Socket = WebSocketStream<TokioIo<Upgraded>>;
/// Its halves.
type Speaker<'a> = SplitSink<&'a mut Socket, Message>;
type Listener<'a> = SplitStream<&'a mut Socket>;

/// Why there is no session: a close code and a text.
type Refused = (u16, String);

pub(crate) async fn exec(mut call: Call) -> Result<Reply, Problem> {
    let Some(upgrade) = call.upgrade.take().filter(|_| is_websocket(&call.headers)) else {
        return Err(match request(&call.query, call.param("alloc_id")) {
            Err((_, text)) => Problem::Failed(text),
            Ok(_) => Problem::Invalid("websocket: the client is not using the websocket protocol".to_owned()),
        });
    };
    if !is_of_same_origin(&call.headers) {
        return Err(Problem::Forbidden("Forbidden".to_owned()));
    }
    let key = call.headers.get("sec-websocket-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Problem::Failed(error.to_string()))?;
    let mut reply = Response::new(Body::empty());
    switching(&mut reply);
    let headers = reply.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-accept", accept);
    let Call { api, query, params, .. } = call;
    let alloc = params.into_iter().find(|(name, _)| *name == "alloc_id").map_or_else(String::new, |(_, id)| id);
    tokio::spawn(serve(upgrade, api, query, alloc));
    Ok(reply)
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let says = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    says(header::UPGRADE, "websocket")
        && says(header::CONNECTION, "upgrade")
        && headers.contains_key("sec-websocket-key")
}

/// A browser lets any page open a WebSocket to any host, and names the page's origin: none but our own may run commands.
fn is_of_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match (headers.contains_key(header::ORIGIN), text(header::ORIGIN), text(header::HOST)) {
        (false, ..) => true,
        (true, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        }
        (true, ..) => false,
    }
}

async fn serve(upgrade: OnUpgrade, api: Api, query: Query, alloc: String) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(bounds())).await;
    let (mut speaker, mut listener) = (&mut socket).split();
    let begun = begin(&mut listener, &mut speaker, api, &query, &alloc).await;
    drop((speaker, listener));
    let _ = tokio::time::timeout(LAST_WORD_MAX, async {
        if let Err(refused) = begun {
            socket.send(close(refused)).await.ok()?;
        }
        // A session that went well ends with the connection and no close frame; clients know it so.
        socket.get_mut().shutdown().await.ok()
    })
    .await;
}

/// What a connection may take up.
fn bounds() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MESSAGE_BYTES_MAX)
}

fn close((code, mut text): Refused) -> Message {
    text.truncate(text.floor_char_boundary(CLOSE_TEXT_BYTES_MAX));
    Message::Close(Some(CloseFrame { code: code.into(), reason: text.into() }))
}

async fn begin(
    listener: &mut Listener<'_>,
    speaker: &mut Speaker<'_>,
    api: Api,
    query: &Query,
    alloc: &str,
) -> Result<(), Refused> {
    let failed = |text: String| (CODE_FAILED, text);
    let wants_handshake = flag(query, "ws_handshake")?;
    if wants_handshake {
        let first = tokio::time::timeout(HANDSHAKE_MAX, next_text(listener)).await;
        let text = match first {
            Ok(Some(text)) => text,
            _ => return Err(failed("no handshake came in time".to_owned())),
        };
        let version = serde_json::from_str::<Value>(&text).ok().and_then(|value| value["version"].as_i64());
        match version {
            Some(1) => {}
            other => return Err((CODE_REFUSED, format!("unexpected handshake value: {}", other.unwrap_or(0)))),
        }
    }
    let request = request(query, alloc)?;
    let (sender, receiver) = api.server.exec(request).await.map_err(|error| match &error {
        drover_server::Error::Unavailable(_) | drover_server::Error::Internal { .. } => failed(error.to_string()),
        _ => (CODE_REFUSED, error.to_string()),
    })?;
    talk(listener, speaker, sender, receiver).await;
    Ok(())
}

fn flag(query: &Query, name: &str) -> Result<bool, Refused> {
    let wrong = |bad: crate::query::BadBool| (CODE_FAILED, format!("{name} value is not a boolean: {}", bad.text()));
    query.flag(name, false).map_err(wrong)
}

fn request(query: &Query, alloc: &str) -> Result<ExecRequest, Refused> {
    let command: Vec<String> = match query.text("command") {
        "" => Err("unexpected end of JSON input".to_owned()),
        text => serde_json::from_str(text).map_err(|error| error.to_string()),
    }
    .map_err(|problem| (CODE_FAILED, format!("failed to marshal command into json: {problem}")))?;
    let tty = flag(query, "tty")?;
    let alloc_id: AllocId = ids::parse(alloc, LOOKED_UP).map_err(|problem| (CODE_FAILED, problem.text().to_owned()))?;
    if command.is_empty() {
        return Err((CODE_REFUSED, "command is not present".to_owned()));
    }
    Ok(ExecRequest { alloc_id, task: query.text("task").to_owned(), command, tty })
}

/// What a caller says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    stdin: Option<Input>,
    tty_size: Option<BTreeMap<String, i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Input {
    data: String,
    close: bool,
}

impl Said {
    fn input(self) -> Vec<ExecInput> {
        let mut found = Vec::new();
        if let Some(size) = self.tty_size {
            let side = |name: &str| size.get(name).and_then(|side| u16::try_from(*side).ok()).unwrap_or(0);
            found.push(ExecInput::Size { height: side("height"), width: side("width") });
        }
        if let Some(Input { data, close }) = self.stdin {
            let bytes = STANDARD.decode(data).unwrap_or_default();
            found.extend(bytes.chunks(EXEC_BYTES_MAX).map(|piece| ExecInput::Stdin(piece.to_vec())));
            if close {
                found.push(ExecInput::StdinEnd);
            }
        }
        found
    }
}

/// What the caller hears.
fn heard(output: &ExecOutput) -> Value {
    match output {
        ExecOutput::Stdout(data) => json!({"stdout": {"data": STANDARD.encode(data)}}),
        ExecOutput::Stderr(data) => json!({"stderr": {"data": STANDARD.encode(data)}}),
        ExecOutput::StdoutEnd => json!({"stdout": {"close": true}}),
        ExecOutput::StderrEnd => json!({"stderr": {"close": true}}),
        ExecOutput::Exited(0) => json!({"exited": true, "result": {}}),
        ExecOutput::Exited(code) => json!({"exited": true, "result": {"exit_code": code}}),
        ExecOutput::Failed(_) => json!({}),
    }
}

async fn talk(
    listener: &mut Listener<'_>,
    speaker: &mut Speaker<'_>,
    mut sender: ExecSender,
    mut receiver: ExecReceiver,
) {
    let listen = async {
        while let Some(text) = next_text(listener).await {
            let Ok(said) = serde_json::from_str::<Said>(&text) else { return };
            for input in said.input() {
                if sender.send(&input).await.is_err() {
                    // It has ended: what is left of its output still comes.
                    std::future::pending::<()>().await;
                }
            }
        }
    };
    let speak = async {
        loop {
            let mut is_sign_of_life = false;
            let message = tokio::select! {
                output = receiver.next() => match output {
                    Ok(Some(ExecOutput::Failed(text))) => close((CODE_FAILED, text)),
                    Ok(Some(output)) => Message::text(heard(&output).to_string()),
                    Ok(None) => return,
                    Err(error) => close((CODE_FAILED, error.to_string())),
                },
                () = tokio::time::sleep(HEARTBEAT) => {
                    is_sign_of_life = true;
                    Message::text("{}")
                }
            };
            let is_last = message.is_close();
            if speaker.send(message).await.is_err() || is_last {
                return;
            }
            // Also a caller that has nothing to say answers it.
            if is_sign_of_life && speaker.send(Message::Ping(Default::default())).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = listen => {}
        () = speak => {}
    }
}

/// The next text of the caller; none when the caller is gone or breaks the rules. Pings are answered by the library.
async fn next_text(listener: &mut Listener<'_>) -> Option<String> {
    loop {
        match tokio::time::timeout(SILENCE_MAX, listener.next()).await.ok()?? {
            Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_becomes_input() {
        let said = |text: &str| serde_json::from_str::<Said>(text).unwrap().input();
        assert_eq!(said("{}"), []);
        assert_eq!(said(r#"{"stdin": {"data": "aGkK"}}"#), [ExecInput::Stdin(b"hi\n".to_vec())]);
        assert_eq!(said(r#"{"stdin": {"close": true}}"#), [ExecInput::StdinEnd]);
        let size = said(r#"{"tty_size": {"height": 40, "width": 120}}"#);
        assert_eq!(size, [ExecInput::Size { height: 40, width: 120 }]);
    }

    #[test]
    fn output_is_told_as_clients_know_it() {
        let check = |output: ExecOutput, expected: &str| assert_eq!(heard(&output).to_string(), expected);
        check(ExecOutput::Stderr(b"err\n".to_vec()), r#"{"stderr":{"data":"ZXJyCg=="}}"#);
        check(ExecOutput::StdoutEnd, r#"{"stdout":{"close":true}}"#);
        check(ExecOutput::Exited(3), r#"{"exited":true,"result":{"exit_code":3}}"#);
        check(ExecOutput::Exited(0), r#"{"exited":true,"result":{}}"#);
    }

    #[test]
    fn pages_of_other_origins_run_no_commands() {
        let check = |origin: Option<&'static str>, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:4646"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_of_same_origin(&headers), expected, "{origin:?}");
        };
        check(None, true);
        check(Some("http://localhost:4646"), true);
        check(Some("https://LOCALHOST:4646"), true);
        check(Some("http://evil.example"), false);
        check(Some("http://localhost:4646.evil.example"), false);
        check(Some("null"), false);
    }

    #[test]
    fn the_text_of_a_close_frame_is_cut_between_letters() {
        let check = |text: &str, expected: usize| match close((CODE_FAILED, text.to_owned())) {
            Message::Close(Some(frame)) => assert_eq!(frame.reason.len(), expected),
            other => panic!("{other:?}"),
        };
        check("short", 5);
        check(&"é".repeat(100), 122);
        check(&"x".repeat(200), 123);
    }

    #[test]
    fn a_wrong_request_is_refused_with_its_code() {
        let alloc = "11111111-2222-4333-8444-555555555555";
        let check = |query: &str, code: u16, text: &str| {
            assert_eq!(request(&Query::parse(Some(query)), alloc).map(|_| ()), Err((code, text.to_owned())), "{query}");
        };
        check("command=", 1011, "failed to marshal command into json: unexpected end of JSON input");
        check("command=%5B%5D", 1008, "command is not present");
        let tty = "tty value is not a boolean: strconv.ParseBool: parsing \"zz\": invalid syntax";
        check("command=%5B%22a%22%5D&tty=zz", 1011, tty);
    }
}
