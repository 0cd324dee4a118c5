//! Whole commands against an agent that gives recorded answers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::commands::COMMANDS;
use crate::grammar;
use crate::output::time::{Clock, parse_nanos};
use crate::output::ui::{Color, Ui};
use crate::settings::Environment;

mod allocs;
mod deployments;
mod evals;
mod formats;
mod grammar_rules;
mod job_actions;
mod jobs;
mod logs;
mod namespaces;
mod nodes;
mod operator;
mod plans;
mod runs;
mod servers;
mod snapshots;
mod tokens;

/// An agent that knows a few routes. Of several answers to one route each is given once, the last one for ever.
pub struct Agent {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// One answer: status, the index in the header, body.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    index: u64,
    body: String,
}

pub fn json(body: Value) -> Reply {
    Reply { status: 200, index: 10, body: body.to_string() }
}

pub fn at(index: u64, body: Value) -> Reply {
    Reply { status: 200, index, body: body.to_string() }
}

pub fn text(status: u16, body: &str) -> Reply {
    Reply { status, index: 10, body: body.to_owned() }
}

impl Agent {
    /// `routes`: method and path without parameters, and the answers.
    pub fn start(routes: &[(&str, Vec<Reply>)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut routes: BTreeMap<String, Vec<Reply>> =
            routes.iter().map(|(route, replies)| ((*route).to_owned(), replies.clone())).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if !answer(stream.unwrap(), &mut routes, &log) {
                    return;
                }
            }
        });
        Self { address, asked, thread: Some(thread) }
    }

    /// What was asked, in order: method, path with parameters, and the body if there was one.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Runs a line against this agent.
    pub fn run(&self, line: &str) -> Ran {
        Line::new(line).env("DROVER_ADDR", &self.address).run()
    }

    /// The address, as messages have it.
    pub fn host_port(&self) -> &str {
        self.address.trim_start_matches("http://")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(mut stream) = TcpStream::connect(self.host_port()) {
            let _ = stream.write_all(b"STOP / HTTP/1.1\r\n\r\n");
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// False when the agent is to end.
fn answer(stream: TcpStream, routes: &mut BTreeMap<String, Vec<Reply>>, log: &Mutex<Vec<String>>) -> bool {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some((name, value)) = line.trim().split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let words: Vec<&str> = first.split_whitespace().collect();
    if words[0] == "STOP" {
        return false;
    }
    let asked = format!("{} {} {}", words[0], words[1], String::from_utf8(body).unwrap());
    log.lock().unwrap().push(asked.trim_end().to_owned());
    let route = format!("{} {}", words[0], words[1].split('?').next().unwrap());
    let reply = match routes.get_mut(&route) {
        Some(replies) if replies.len() > 1 => replies.remove(0),
        Some(replies) => replies[0].clone(),
        None => text(404, &format!("no route for {route}")),
    };
    let head = format!(
        "HTTP/1.1 {} X\r\nContent-Length: {}\r\nX-Nomad-Index: {}\r\nConnection: close\r\n\r\n",
        reply.status,
        reply.body.len(),
        reply.index
    );
    // The one who asked may have gone away.
    let _ = reader.get_mut().write_all((head + &reply.body).as_bytes());
    true
}

/// A line, and the world it is run in.
pub struct Line {
    words: Vec<String>,
    environment: BTreeMap<String, String>,
    stdin: String,
    is_stdin_given: bool,
    now: &'static str,
    terminal: bool,
}

/// What came of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Line {
    /// Words apart by blanks; single quotes hold words together.
    pub fn new(line: &str) -> Self {
        let mut words = Vec::new();
        for (position, part) in line.split('\'').enumerate() {
            if position % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        let environment = BTreeMap::new();
        Self {
            words,
            environment,
            stdin: String::new(),
            is_stdin_given: false,
            now: "2026-11-21T11:27:39Z",
            terminal: false,
        }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn agent(self, agent: &Agent) -> Self {
        self.env("DROVER_ADDR", &agent.address)
    }

    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self.is_stdin_given = true;
        self
    }

    pub fn now(mut self, now: &'static str) -> Self {
        self.now = now;
        self
    }

    pub fn on_a_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    pub fn run(self) -> Ran {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let mut ui = Ui {
            stdout: Box::new(stdout.clone()),
            stderr: Box::new(stderr.clone()),
            stdin: Box::new(std::io::Cursor::new(self.stdin.into_bytes())),
            is_terminal: self.terminal,
            is_stdin_given: self.is_stdin_given,
            color: Color::default(),
            clock: Clock { fixed_nanos: parse_nanos(self.now), zone: TimeZone::UTC },
        };
        let status = grammar::run(&self.words, COMMANDS, &Environment(self.environment), &mut ui);
        Ran { status, stdout: stdout.text(), stderr: stderr.text() }
    }
}

impl Ran {
    /// It went well, and this stands on stdout.
    #[track_caller]
    pub fn printed(self, expected: &str) {
        self.ended(0, expected, "");
    }

    /// It failed, and this stands on stderr.
    #[track_caller]
    pub fn failed(self, expected: &str) {
        self.ended(1, "", expected);
    }

    /// It ended so; a newline at the end of each text is added.
    #[track_caller]
    pub fn ended(self, status: i32, stdout: &str, stderr: &str) {
        let line = |text: &str| if text.is_empty() { String::new() } else { format!("{text}\n") };
        // Texts apart first: a difference reads better than in a struct.
        similar(&self.stdout, &line(stdout));
        similar(&self.stderr, &line(stderr));
        assert_eq!(self.status, status);
    }
}

#[track_caller]
fn similar(actual: &str, expected: &str) {
    assert!(actual == expected, "printed:\n{actual}\nexpected:\n{expected}");
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Nanoseconds of a time, as JSON.
pub fn nanos(time: &str) -> i64 {
    parse_nanos(time).unwrap()
}
