//! A registry that does what a test tells it, on a port of the system's choice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request that was made.
#[derive(Debug, Clone)]
pub struct Seen {
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// How many requests for the same target came before.
    pub nth: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first byte that is wanted.
    pub fn from(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.strip_suffix('-')).map_or(0, |from| from.parse().unwrap())
    }
}

/// What is done with it.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub end: End,
}

pub enum End {
    /// As it should be.
    Whole,
    /// Chunked, in pieces of that many bytes.
    Chunked(usize),
    /// The connection is cut after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Hang(usize),
    /// A byte at a time, with pauses.
    Drip(Duration),
    /// These bytes instead of an answer, then the end.
    Raw(Vec<u8>),
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), end: End::Whole }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

type Handler = dyn Fn(&Seen) -> Reply + Send + Sync;

/// Ends with its value.
pub struct Fake {
    /// `127.0.0.1:port`.
    pub host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    pub fn start(handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, Arc::new(handler))
    }

    /// With a certificate.
    pub fn start_tls(tls: rustls::ServerConfig, handler: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Some(Arc::new(tls)), Arc::new(handler))
    }

    fn start_with(tls: Option<Arc<rustls::ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (seen, is_over): (Arc<Mutex<Vec<Seen>>>, _) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (log, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let (log, handler, tls) = (Arc::clone(&log), Arc::clone(&handler), tls.clone());
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    // What the other side does with its end is not this side's test.
                    let _ = match tls {
                        None => serve(stream, &log, &*handler),
                        Some(tls) => {
                            let session = rustls::ServerConnection::new(tls).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), &log, &*handler)
                        }
                    };
                });
            }
        });
        Self { host, seen, is_over, thread: Some(thread) }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests for targets with that in them.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.target.contains(part)).count()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(&self.host);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(stream: impl Read + Write, log: &Mutex<Vec<Seen>>, handler: &Handler) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut seen = Seen { target, headers, body: String::new(), nth: 0 };
    if let Some(length) = seen.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        seen.body = String::from_utf8(body).unwrap();
    }
    {
        let mut log = log.lock().unwrap();
        seen.nth = log.iter().filter(|before| before.target == seen.target).count();
        log.push(seen.clone());
    }
    let reply = handler(&seen);
    let stream = stream.get_mut();
    if let End::Raw(bytes) = &reply.end {
        stream.write_all(bytes)?;
        return stream.flush();
    }
    let mut head = format!("HTTP/1.1 {} -\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.end {
        End::Chunked(_) => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        _ => head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len())),
    }
    stream.write_all(head.as_bytes())?;
    match reply.end {
        End::Whole | End::Raw(_) => stream.write_all(&reply.body)?,
        End::Chunked(size) => {
            for piece in reply.body.chunks(size) {
                stream.write_all(format!("{:x};x=y\r\n", piece.len()).as_bytes())?;
                stream.write_all(piece)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        }
        End::Cut(after) => stream.write_all(&reply.body[..after])?,
        End::Hang(after) => {
            stream.write_all(&reply.body[..after])?;
            stream.flush()?;
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]);
        }
        End::Drip(pause) => {
            for byte in reply.body {
                stream.write_all(&[byte])?;
                stream.flush()?;
                // A pace, not a wait for something.
                std::thread::sleep(pause);
            }
        }
    }
    stream.flush()
}
