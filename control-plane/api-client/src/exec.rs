//! A command inside a task, over a WebSocket.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tungstenite::handshake::{client::generate_key, derive_accept_key};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use crate::client::Client;
use crate::error::Error;
use crate::query::{QueryOptions, escape};
use crate::wire::Wire;

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The longest message that is taken, in bytes.
const MESSAGE_BYTES_MAX: usize = 256 << 10;
/// What is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct ExecOrder {
    /// The task.
    pub task: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// With a terminal.
    pub tty: bool,
}

/// What is heard of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its output.
    Stdout(Vec<u8>),
    /// Its errors.
    Stderr(Vec<u8>),
    /// It has ended with this code.
    Exited(i32),
    /// It was not run, or the connection is over.
    Failed(String),
}

/// A command under way. Dropped, it is ended.
pub struct Exec {
    socket: WebSocket<Wire>,
}

impl Client {
    /// GET /v1/client/allocation/:alloc/exec
    pub fn exec(&self, alloc_id: &str, order: &ExecOrder) -> Result<Exec, Error> {
        let command = json!(order.command).to_string();
        let options = QueryOptions::default()
            .with("task", order.task.as_str())
            .with("tty", order.tty.to_string())
            .with("command", command);
        let url = self.url(&format!("/v1/client/allocation/{}/exec", escape(alloc_id)), &options);
        let target = url.strip_prefix(self.base()).unwrap_or(&url).to_owned();
        let failed =
            |problem: io::Error| Error::Unanswered { method: "Get", url: url.clone(), problem: problem.to_string() };
        let mut wire = Wire::connect(&self.address, &self.config.tls, self.config.timeout).map_err(failed)?;
        let key = generate_key();
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nUser-Agent: drover\r\n",
            self.address.host_port
        );
        for (name, value) in self.standing_headers() {
            head.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], "")));
        }
        head.push_str("\r\n");
        wire.send(head.as_bytes()).map_err(failed)?;
        let (head, rest) = read_head(&mut wire).map_err(failed)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| failed(io::Error::other("the answer is no HTTP")))?;
        if status != 101 {
            let mut body = rest;
            // Closed or silent: what has come is what there is to show.
            let _ = wire.take(HEAD_BYTES_MAX as u64).read_to_end(&mut body);
            return Err(Error::Refused { status, body: String::from_utf8_lossy(&body).trim().to_owned() });
        }
        if header(&head, "sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
            return Err(failed(io::Error::other("the answer is no WebSocket")));
        }
        wire.set_nonblocking().map_err(failed)?;
        let bounds = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX))
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * MESSAGE_BYTES_MAX);
        Ok(Exec { socket: WebSocket::from_partially_read(wire, rest, Role::Client, Some(bounds)) })
    }
}

/// A header's value.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The head of the answer, and what came behind it.
fn read_head(wire: &mut Wire) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
            return Ok((head, bytes.split_off(end + 4)));
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head of the answer is too long"));
        }
        match wire.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => bytes.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Frame {
    stdout: Option<Piece>,
    stderr: Option<Piece>,
    exited: bool,
    result: Ended,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Piece {
    data: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ended {
    exit_code: i32,
}

impl Exec {
    /// Hands input on.
    pub fn send(&mut self, data: &[u8]) -> io::Result<()> {
        self.say(&json!({"stdin": {"data": STANDARD.encode(data)}}))
    }

    /// There is no more input.
    pub fn close_stdin(&mut self) -> io::Result<()> {
        self.say(&json!({"stdin": {"close": true}}))
    }

    /// The terminal has this size now.
    pub fn resize(&mut self, height: u16, width: u16) -> io::Result<()> {
        self.say(&json!({"tty_size": {"height": height, "width": width}}))
    }

    /// A sign of life; due every ten seconds.
    pub fn heartbeat(&mut self) -> io::Result<()> {
        self.say(&json!({}))
    }

    fn say(&mut self, value: &Value) -> io::Result<()> {
        self.socket.send(Message::text(value.to_string())).map_err(io::Error::other)
    }

    /// What has come meanwhile; does not wait. Nothing comes after [`Heard::Exited`] and [`Heard::Failed`].
    pub fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Frame = serde_json::from_str(&text).unwrap_or_default();
                    let bytes = |piece: Piece| STANDARD.decode(piece.data).unwrap_or_default();
                    heard.extend(frame.stdout.map(bytes).filter(|data| !data.is_empty()).map(Heard::Stdout));
                    heard.extend(frame.stderr.map(bytes).filter(|data| !data.is_empty()).map(Heard::Stderr));
                    if frame.exited {
                        heard.push(Heard::Exited(frame.result.exit_code));
                        return heard;
                    }
                }
                Ok(Message::Close(frame)) => {
                    let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
                    heard.push(Heard::Failed(reason));
                    return heard;
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    heard.push(Heard::Failed(failure(&error)));
                    return heard;
                }
            }
        }
    }
}

fn failure(error: &tungstenite::Error) -> String {
    use tungstenite::error::ProtocolError;
    match error {
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
        | tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed => "the connection was closed".to_owned(),
        other => other.to_string(),
    }
}

impl AsFd for Exec {
    /// Readable when there may be something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }
}
