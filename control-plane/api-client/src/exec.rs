//! A command inside a task, over a WebSocket.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drover_websocket::{Decoder, Message, encode, random};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::error::Error;
use crate::query::{QueryOptions, escape};
use crate::wire::Wire;

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

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
    wire: Wire,
    decoder: Decoder,
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
        let key = random::<16>().ok_or_else(|| failed(io::Error::other("no randomness")))?;
        let mut head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\nUser-Agent: drover\r\n",
            self.address.host_port,
            STANDARD.encode(key)
        );
        for (name, value) in self.standing_headers() {
            head.push_str(&format!("{name}: {}\r\n", value.replace(['\r', '\n'], "")));
        }
        head.push_str("\r\n");
        wire.send(head.as_bytes()).map_err(failed)?;
        let (status, rest) = read_head(&mut wire).map_err(failed)?;
        if status != 101 {
            let mut body = rest;
            // Closed or silent: what has come is what there is to show.
            let _ = wire.take(HEAD_BYTES_MAX as u64).read_to_end(&mut body);
            return Err(Error::Refused { status, body: String::from_utf8_lossy(&body).trim().to_owned() });
        }
        wire.set_nonblocking().map_err(failed)?;
        let mut decoder = Decoder::of_server();
        decoder.put(&rest);
        Ok(Exec { wire, decoder })
    }
}

/// The status, and what came behind the head.
fn read_head(wire: &mut Wire) -> io::Result<(u16, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
            let status = status.ok_or_else(|| io::Error::other("the answer is no HTTP"))?;
            return Ok((status, bytes.split_off(end + 4)));
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
        let mask = random::<4>().ok_or_else(|| io::Error::other("no randomness"))?;
        self.wire.send(&encode(&Message::Text(value.to_string()), Some(mask)))
    }

    /// What has come meanwhile; does not wait. Nothing comes after [`Heard::Exited`] and [`Heard::Failed`].
    pub fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut chunk = [0; 16 << 10];
        loop {
            match self.decoder.next_message() {
                Ok(Some(Message::Text(text))) => {
                    let frame: Frame = serde_json::from_str(&text).unwrap_or_default();
                    let bytes = |piece: Piece| STANDARD.decode(piece.data).unwrap_or_default();
                    heard.extend(frame.stdout.map(bytes).filter(|data| !data.is_empty()).map(Heard::Stdout));
                    heard.extend(frame.stderr.map(bytes).filter(|data| !data.is_empty()).map(Heard::Stderr));
                    if frame.exited {
                        heard.push(Heard::Exited(frame.result.exit_code));
                        return heard;
                    }
                    continue;
                }
                Ok(Some(Message::Close(_, text))) => {
                    heard.push(Heard::Failed(text));
                    return heard;
                }
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => {
                    heard.push(Heard::Failed(error.to_string()));
                    return heard;
                }
            }
            match self.wire.read(&mut chunk) {
                Ok(0) => {
                    heard.push(Heard::Failed("the connection was closed".to_owned()));
                    return heard;
                }
                Ok(length) => self.decoder.put(chunk.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return heard,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    heard.push(Heard::Failed(error.to_string()));
                    return heard;
                }
            }
        }
    }
}

impl AsFd for Exec {
    /// Readable when there may be something to hear.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}
