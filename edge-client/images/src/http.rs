//! One HTTP/1.1 request over one connection, over TLS or plain.
//!
//! Ours, and small, because of what a pull needs of every single read: an end when nobody wants it any more, when the other side is
//! silent, and when the time of the whole is up. A connection serves one request: a pull makes few, and large, ones.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::error::PullError;
use crate::url::Url;
use crate::watch::{LOOK, Watch};

/// How long a connection may take to come about, at most.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// The most lines in a head.
const HEADERS_MAX: usize = 100;
/// The longest line between chunks, in bytes.
const CHUNK_LINE_MAX: usize = 1024;

/// How it is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Method {
    #[default]
    Get,
    Put,
}

/// What is asked.
#[derive(Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Lines of the head, by their names, besides those that follow from the rest.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) accept: &'a str,
    pub(crate) authorization: Option<&'a str>,
    /// Bytes before this one are not wanted.
    pub(crate) from: u64,
    /// A form, which makes it a POST.
    pub(crate) form: Option<&'a str>,
}

/// An answer whose body is still to be read.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    framing: Framing,
    wire: Buffered,
}

enum Framing {
    Length(u64),
    /// Bytes left of the current chunk, and whether one was begun.
    Chunked {
        left: u64,
        is_first: bool,
    },
    ToEnd,
    Done,
}

/// Sends a request and reads the head of the answer.
pub(crate) fn send(
    url: &Url,
    tls: Option<Arc<ClientConfig>>,
    request: &Request<'_>,
    watch: &Watch,
) -> Result<Response, PullError> {
    let connected = connect(url, tls, watch);
    let mut wire = connected.map_err(|err| explain(err, url, watch))?;
    let exchange = || -> io::Result<Response> {
        wire.stream.write_all(head(url, request).as_bytes())?;
        wire.stream.flush()?;
        read_head(wire)
    };
    exchange().map_err(|err| explain(err, url, watch))
}

/// What a broken connection means for the pull.
pub(crate) fn explain(err: io::Error, url: &Url, watch: &Watch) -> PullError {
    if let Err(end) = watch.check() {
        return end;
    }
    let host = url.authority();
    match err.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => PullError::Silent { host, silence: watch.silence },
        io::ErrorKind::InvalidData if err.get_ref().is_some_and(|it| it.is::<Nonsense>()) => {
            PullError::Answer { host, what: err.to_string() }
        }
        _ if err.get_ref().is_some_and(|it| it.is::<rustls::Error>()) => {
            PullError::Untrusted { host, reason: err.to_string() }
        }
        io::ErrorKind::UnexpectedEof => PullError::Unreachable { host, reason: "the connection was cut".to_owned() },
        _ => PullError::Unreachable { host, reason: err.to_string() },
    }
}

#[derive(Debug, thiserror::Error)]
#[error("what is no HTTP: {0}")]
struct Nonsense(&'static str);

fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Nonsense(what))
}

fn head(url: &Url, request: &Request<'_>) -> String {
    let method = match (request.form, request.method) {
        (Some(_), _) => "POST",
        (None, Method::Get) => "GET",
        (None, Method::Put) => "PUT",
    };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.target, url.authority());
    head.push_str(concat!("User-Agent: drover/", env!("CARGO_PKG_VERSION"), "\r\nConnection: close\r\n"));
    if !request.accept.is_empty() {
        head.push_str(&format!("Accept: {}\r\n", request.accept));
    }
    for (name, value) in request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if request.method == Method::Put {
        head.push_str("Content-Length: 0\r\n");
    }
    if let Some(authorization) = request.authorization {
        head.push_str(&format!("Authorization: {authorization}\r\n"));
    }
    if request.from > 0 {
        head.push_str(&format!("Range: bytes={}-\r\n", request.from));
    }
    match request.form {
        Some(form) => head.push_str(&format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        )),
        None => head.push_str("\r\n"),
    }
    head
}

fn connect(url: &Url, tls: Option<Arc<ClientConfig>>, watch: &Watch) -> io::Result<Buffered> {
    let mut refused = None;
    let mut connected = None;
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        if watch.check().is_err() {
            break;
        }
        match TcpStream::connect_timeout(&address, watch.silence.min(CONNECT_MAX)) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(err) => refused = Some(err),
        }
    }
    let Some(tcp) = connected else {
        return Err(refused.unwrap_or_else(|| io::Error::from(io::ErrorKind::NotFound)));
    };
    tcp.set_read_timeout(Some(LOOK))?;
    tcp.set_write_timeout(Some(LOOK))?;
    tcp.set_nodelay(true)?;
    let watched = Watched { tcp, watch: watch.clone() };
    let stream = match tls {
        None => Stream::Plain(watched),
        Some(config) => {
            let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
            let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
            Stream::Tls(Box::new(StreamOwned::new(session, watched)))
        }
    };
    Ok(Buffered { stream, buffer: Vec::new(), at: 0 })
}

/// A socket that looks up from its waiting.
struct Watched {
    tcp: TcpStream,
    watch: Watch,
}

impl Watched {
    /// Repeats what timed out, until there is a reason to end.
    fn insist<T>(&mut self, mut operation: impl FnMut(&mut TcpStream) -> io::Result<T>) -> io::Result<T> {
        let begin = Instant::now();
        loop {
            if self.watch.check().is_err() {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            match operation(&mut self.tcp) {
                Err(err) if matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if begin.elapsed() >= self.watch.silence {
                        return Err(io::Error::from(io::ErrorKind::TimedOut));
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.insist(|tcp| tcp.read(buffer))
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.insist(|tcp| tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stream {
    Plain(Watched),
    Tls(Box<StreamOwned<ClientConnection, Watched>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A stream, and what was read of it but not used yet.
struct Buffered {
    stream: Stream,
    buffer: Vec<u8>,
    at: usize,
}

impl Buffered {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let kept = &self.buffer[self.at..];
        if kept.is_empty() {
            return self.stream.read(into);
        }
        let count = kept.len().min(into.len());
        into[..count].copy_from_slice(&kept[..count]);
        self.at += count;
        Ok(count)
    }

    /// A line without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let mut byte = [0];
        loop {
            if self.at == self.buffer.len() {
                self.buffer.resize(4096, 0);
                self.at = 0;
                let count = self.stream.read(&mut self.buffer);
                self.buffer.truncate(*count.as_ref().unwrap_or(&0));
                if count? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
            self.read(&mut byte)?;
            match byte[0] {
                b'\n' => return Ok(line),
                b'\r' => {}
                other => line.push(other),
            }
            if line.len() > CHUNK_LINE_MAX {
                return Err(nonsense("a chunk without a length"));
            }
        }
    }
}

fn read_head(mut wire: Buffered) -> io::Result<Response> {
    let mut piece = [0; 4096];
    loop {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        match parsed.parse(&wire.buffer) {
            Ok(httparse::Status::Complete(length)) => {
                let status = parsed.code.unwrap_or_default();
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let headers: Vec<_> =
                    parsed.headers.iter().map(|line| (line.name.to_ascii_lowercase(), text(line.value))).collect();
                if (100..200).contains(&status) && status != 101 {
                    wire.buffer.drain(..length);
                    continue;
                }
                wire.at = length;
                let framing = framing(status, &headers)?;
                return Ok(Response { status, headers, framing, wire });
            }
            Ok(httparse::Status::Partial) if wire.buffer.len() < HEAD_MAX => {}
            Ok(httparse::Status::Partial) => return Err(nonsense("a head without an end")),
            Err(_) => return Err(nonsense("a head that can not be read")),
        }
        let count = wire.stream.read(&mut piece)?;
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        wire.buffer.extend_from_slice(&piece[..count]);
    }
}

fn framing(status: u16, headers: &[(String, String)]) -> io::Result<Framing> {
    let find = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim());
    if status == 204 || status == 304 {
        return Ok(Framing::Done);
    }
    if let Some(encoding) = find("transfer-encoding") {
        return match encoding.to_ascii_lowercase().as_str() {
            "chunked" => Ok(Framing::Chunked { left: 0, is_first: true }),
            _ => Err(nonsense("an unknown transfer encoding")),
        };
    }
    match find("content-length") {
        Some(length) => length.parse().map(Framing::Length).map_err(|_| nonsense("a length that is no number")),
        None => Ok(Framing::ToEnd),
    }
}

impl Response {
    /// The first header of that name (in lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// All headers of that name.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    /// The whole body, if it is not longer than `max`.
    pub(crate) fn read_whole(&mut self, max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut whole = Vec::new();
        self.take(max as u64 + 1).read_to_end(&mut whole)?;
        Ok((whole.len() <= max).then_some(whole))
    }

    fn read_chunked(&mut self, buffer: &mut [u8], left: u64, is_first: bool) -> io::Result<usize> {
        let mut left = left;
        if left == 0 {
            if !is_first && !self.wire.line()?.is_empty() {
                return Err(nonsense("a chunk longer than it says"));
            }
            let line = self.wire.line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            left = u64::from_str_radix(digits, 16).map_err(|_| nonsense("a chunk without a length"))?;
            if left == 0 {
                self.framing = Framing::Done;
                return Ok(0);
            }
        }
        let count = self.read_up_to(buffer, left)?;
        self.framing = Framing::Chunked { left: left - count as u64, is_first: false };
        Ok(count)
    }

    /// Reads of a part whose length was said.
    fn read_up_to(&mut self, buffer: &mut [u8], left: u64) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.wire.read(&mut buffer[..most])? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            count => Ok(count),
        }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.framing {
            Framing::Done | Framing::Length(0) => Ok(0),
            Framing::ToEnd => self.wire.read(buffer),
            Framing::Length(left) => {
                let count = self.read_up_to(buffer, left)?;
                self.framing = Framing::Length(left - count as u64);
                Ok(count)
            }
            Framing::Chunked { left, is_first } => self.read_chunked(buffer, left, is_first),
        }
    }
}
