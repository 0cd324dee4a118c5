//! The agent's end: starts the supervisor when none is there, asks it, and hears of exits.
//!
//! Blocking, for any thread; several threads may ask at once. It has one small thread of its own that sorts the answers. After
//! [`ClientError::Lost`] the agent calls [`Client::connect_or_start`] again and compares [`Client::list`] with what it wants.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::entry::{RunOptions, SUPERVISOR_ARG};
use crate::keeper::{Keeper, open_files_of_tasks};
use crate::pass_fds;
use crate::protocol::{
    Audited, Hello, Purpose, REPLY_BYTES_MAX, REQUEST_BYTES_MAX, Refusal, Reply, ReplyBody, Request, RequestBody,
    SessionNews, SessionSpec, Started, Stats, TaskExited, TaskStatus, VERSION, Welcome, WireError, decode, encode,
};
use crate::socket;
use crate::spec::TaskSpec;

/// How long a new supervisor may take to greet; ending what a dead one left takes up to three seconds.
const GREETING_MAX: Duration = Duration::from_secs(15);
/// How long an answer may take: longer than the supervisor's own bound for a start.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// The supervisor's own log is begun anew past this size.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Most answers awaited at a time.
const PENDING_MAX: usize = 1024;

/// How to reach, or start, the supervisor of one agent.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// Its socket, for example `<data_dir>/client/supervisor.sock`; its lock, its log and its containers' files stand beside it.
    pub socket: PathBuf,
    /// The node; its short form is part of every cgroup path.
    pub node_id: String,
    /// When no agent has been connected for this long, all tasks end and nothing is left (`-dev`). None: tasks go on for ever.
    pub linger: Option<Duration>,
    /// Directory that the supervisor removes, mounts below it included, when `linger` has run out or it got a SIGTERM.
    pub remove_dir: Option<PathBuf>,
    /// Arguments that its program is run with then, after the last task and before the directory goes: for what tasks had in
    /// the kernel that the supervisor does not know of. Empty: nothing is run.
    pub at_end: Vec<String>,
    /// Where the node's cgroups stand, for example `/drover`.
    pub cgroup_parent: String,
    /// The program to run as supervisor; its main must call `main_if_supervisor` first. None: the calling one.
    pub program: Option<PathBuf>,
    /// Where copies of what the supervisor holds are kept, so that the next one can go on when it is killed.
    pub keeper: Option<Arc<Keeper>>,
}

impl StartOptions {
    /// The usual supervisor of a node: tasks stay when the agent goes.
    pub fn new(socket: impl Into<PathBuf>, node_id: impl Into<String>) -> StartOptions {
        StartOptions {
            socket: socket.into(),
            node_id: node_id.into(),
            linger: None,
            remove_dir: None,
            at_end: Vec::new(),
            cgroup_parent: "/drover".to_owned(),
            program: None,
            keeper: None,
        }
    }
}

/// Why the supervisor could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of it could not be used.
    #[error("{what} {path}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It did not come up.
    #[error("start supervisor: {0}")]
    Start(String),
    /// Another agent is starting it and does not get done.
    #[error("another process holds {0}")]
    Locked(PathBuf),
    /// The connection is gone; connect again.
    #[error("connection to the supervisor was lost")]
    Lost,
    /// No answer in time.
    #[error("the supervisor did not answer within {} s", ANSWER_MAX.as_secs())]
    Silent,
    /// The bytes made no sense.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// It said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to the supervisor, shared by any number of threads.
#[derive(Debug)]
pub struct Client {
    options: StartOptions,
    supervisor_pid: i32,
    unenforced: BTreeMap<String, String>,
    audits: bool,
    shared: Arc<Shared>,
}

type Pending = BTreeMap<u64, SyncSender<Result<ReplyBody, Refusal>>>;

#[derive(Debug)]
struct Shared {
    writer: Mutex<UnixStream>,
    /// Who waits for which answer; none when the connection is over.
    pending: Mutex<Option<Pending>>,
    next_id: AtomicU64,
}

impl Client {
    /// Connects to the node's supervisor; starts one when none is there.
    pub fn connect_or_start(options: StartOptions) -> Result<Client, ClientError> {
        if let Some(dir) = options.socket.parent() {
            std::fs::create_dir_all(dir).map_err(|source| io("create", dir, source))?;
        }
        let lock = lock(&options.socket.with_extension("lock"))?;
        let (mut has_started, mut losses) = (false, 0);
        loop {
            match greet(&options, Purpose::Requests) {
                Ok(greeted) => {
                    drop(lock);
                    keep(&options)?;
                    return Client::over(options, greeted);
                }
                Err(ClientError::Io { source, .. }) if is_absent(&source) && !has_started => {
                    start(&options)?;
                    has_started = true;
                }
                // The one just started has ended, and had a reason.
                Err(ClientError::Io { source, .. }) if is_absent(&source) => {
                    return Err(ClientError::Start(last_words(&options)));
                }
                // One that was just ending takes its socket away first, so the next look finds none.
                Err(ClientError::Lost) if losses < 20 => {
                    losses += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(err) => return Err(err),
            }
        }
    }

    fn over(options: StartOptions, greeted: Greeted) -> Result<Client, ClientError> {
        let Greeted { stream, pid: supervisor_pid, unenforced, audits, .. } = greeted;
        let failed = |source| io("use", &options.socket, source);
        stream.set_read_timeout(None).map_err(failed)?;
        let reader = stream.try_clone().map_err(failed)?;
        let shared = Arc::new(Shared {
            writer: Mutex::new(stream),
            pending: Mutex::new(Some(Pending::new())),
            next_id: AtomicU64::new(1),
        });
        let sorter = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("supervisor".to_owned())
            .stack_size(128 << 10)
            .spawn(move || sort_answers(reader, &sorter))
            .map_err(failed)?;
        Ok(Client { options, supervisor_pid, unenforced, audits, shared })
    }

    /// The supervisor's process.
    pub fn supervisor_pid(&self) -> i32 {
        self.supervisor_pid
    }

    /// Limits of tasks that can't be enforced here (`memory`, `cpu`, `cores`, `processes`), and why.
    pub fn unenforced(&self) -> &BTreeMap<String, String> {
        &self.unenforced
    }

    /// Whether the connection still stands.
    pub fn is_connected(&self) -> bool {
        hold(&self.shared.pending).is_some()
    }

    /// Starts a task and returns when its command runs, or says why it does not.
    pub fn start_task(&self, spec: TaskSpec) -> Result<Started, ClientError> {
        match self.ask(RequestBody::Start(Box::new(spec)))? {
            ReplyBody::Started(started) => Ok(started),
            _ => Err(ClientError::Lost),
        }
    }

    /// Sends a signal (its number) to a task's main process.
    pub fn signal(&self, task_id: &str, signal: i32) -> Result<(), ClientError> {
        self.ask(RequestBody::Signal { task_id: task_id.to_owned(), signal }).map(drop)
    }

    /// Kills every process of a task at once.
    pub fn kill_all(&self, task_id: &str) -> Result<(), ClientError> {
        self.ask(RequestBody::KillAll { task_id: task_id.to_owned() }).map(drop)
    }

    /// Acknowledges the exit of a task: the supervisor forgets it.
    pub fn remove(&self, task_id: &str) -> Result<(), ClientError> {
        self.ask(RequestBody::Remove { task_id: task_id.to_owned() }).map(drop)
    }

    /// All tasks, those included that have ended and were not acknowledged.
    pub fn list(&self) -> Result<Vec<TaskStatus>, ClientError> {
        match self.ask(RequestBody::List)? {
            ReplyBody::Tasks(tasks) => Ok(tasks),
            _ => Err(ClientError::Lost),
        }
    }

    /// Has the supervisor look whether what the kernel has is what it knows. One of an earlier version finds nothing.
    pub fn audit(&self) -> Result<Audited, ClientError> {
        if !self.audits {
            return Ok(Audited::default());
        }
        match self.ask(RequestBody::Audit)? {
            ReplyBody::Audited(audited) => Ok(audited),
            _ => Err(ClientError::Lost),
        }
    }

    /// What a running task uses now.
    pub fn stats(&self, task_id: &str) -> Result<Stats, ClientError> {
        match self.ask(RequestBody::Stats { task_id: task_id.to_owned() })? {
            ReplyBody::Stats(stats) => Ok(stats),
            _ => Err(ClientError::Lost),
        }
    }

    /// Ends the supervisor. With `end_tasks` every task is killed first; without, it refuses while one runs. When this
    /// returns, its socket and cgroups are gone.
    pub fn shutdown(&self, end_tasks: bool) -> Result<(), ClientError> {
        let ended = self.ask(RequestBody::Shutdown { end_tasks }).map(drop);
        if ended.is_ok() {
            // Its end of the socket may stay open for a moment, but nobody would answer any more.
            self.shared.end();
        }
        ended
    }

    /// Has the supervisor go on as another program, with all its tasks. When this returns well the connection is over, and a new
    /// one finds the other program; when not, everything is as it was.
    pub fn replace(&self, program: &Path) -> Result<(), ClientError> {
        match self.ask(RequestBody::Replace { program: program.to_owned() }) {
            // It answers only when it stays what it is.
            Err(ClientError::Lost) => Ok(()),
            Ok(_) => Err(ClientError::Lost),
            Err(err) => Err(err),
        }
    }

    /// Runs a command inside a running task, with these descriptors as its standard input, output and error.
    pub fn session(&self, spec: &SessionSpec, fds: [BorrowedFd<'_>; 3]) -> Result<Session, ClientError> {
        let Greeted { stream, mut buffer, .. } = greet(&self.options, Purpose::Session)?;
        let frame = encode(spec, REQUEST_BYTES_MAX)?;
        // Descriptors go with the first byte; the rest may be more than one call takes.
        let (first, rest) = frame.split_at(1);
        pass_fds::send(&stream, first, &fds, SendFlags::empty()).map_err(|_| ClientError::Lost)?;
        let mut stream = stream;
        stream.write_all(rest).map_err(|_| ClientError::Lost)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|_| ClientError::Lost)?;
        match receive::<SessionNews>(&mut stream, &mut buffer)? {
            Some(SessionNews::Started) => Ok(Session { stream, buffer }),
            Some(SessionNews::Refused(refusal)) => Err(refusal.into()),
            Some(SessionNews::Ended { .. }) => Err(ClientError::Lost),
            None => Err(ClientError::Silent),
        }
    }

    /// A stream of exits on a connection of its own. Exits that are not acknowledged come first, so none is ever missed; one
    /// that was heard before may come again.
    pub fn events(&self) -> Result<EventStream, ClientError> {
        let Greeted { stream, buffer, .. } = greet(&self.options, Purpose::Events)?;
        Ok(EventStream { stream, buffer })
    }

    fn ask(&self, body: RequestBody) -> Result<ReplyBody, ClientError> {
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        let frame = encode(&Request { id, body }, REQUEST_BYTES_MAX)?;
        let (tx, rx) = sync_channel(1);
        match hold(&self.shared.pending).as_mut() {
            Some(pending) if pending.len() < PENDING_MAX => drop(pending.insert(id, tx)),
            Some(_) => return Err(Refusal::TooMany("requests at once".to_owned()).into()),
            None => return Err(ClientError::Lost),
        }
        let written = {
            let mut writer = hold(&self.shared.writer);
            // Answers that have come already are still to be read: the sorting thread finds the end behind them.
            writer.write_all(&frame).inspect_err(|_| drop(writer.shutdown(Shutdown::Both)))
        };
        if written.is_err() {
            if let Some(pending) = hold(&self.shared.pending).as_mut() {
                pending.remove(&id);
            }
            return Err(ClientError::Lost);
        }
        match rx.recv_timeout(ANSWER_MAX) {
            Ok(answer) => Ok(answer?),
            Err(RecvTimeoutError::Disconnected) => Err(ClientError::Lost),
            Err(RecvTimeoutError::Timeout) => {
                if let Some(pending) = hold(&self.shared.pending).as_mut() {
                    pending.remove(&id);
                }
                Err(ClientError::Silent)
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    /// Ends the connection: everyone who waits hears that it is lost.
    fn end(&self) {
        *hold(&self.pending) = None;
        let _ = hold(&self.writer).shutdown(Shutdown::Both);
    }
}

/// A lock that a panicking thread left is used all the same: both values are valid between any two calls.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sort_answers(mut reader: UnixStream, shared: &Shared) {
    let mut buffer = Vec::new();
    while let Ok(Some(reply)) = receive::<Reply>(&mut reader, &mut buffer) {
        let waiter = hold(&shared.pending).as_mut().and_then(|pending| pending.remove(&reply.id));
        if let Some(waiter) = waiter {
            // It may have given up meanwhile.
            let _ = waiter.try_send(reply.body);
        }
    }
    shared.end();
}

/// A command that runs inside a task. Dropped, it is ended.
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Session {
    /// Waits for its end: exit code (128 + signal when a signal ended it) and signal.
    pub fn wait(&mut self) -> Result<(i32, i32), ClientError> {
        self.stream.set_read_timeout(None).map_err(|_| ClientError::Lost)?;
        match receive::<SessionNews>(&mut self.stream, &mut self.buffer)? {
            Some(SessionNews::Ended { exit_code, signal }) => Ok((exit_code, signal)),
            _ => Err(ClientError::Lost),
        }
    }

    /// A handle that ends it from another thread.
    pub fn stopper(&self) -> Result<EventStopper, ClientError> {
        self.stream.try_clone().map(|stream| EventStopper { stream }).map_err(|_| ClientError::Lost)
    }
}

/// Exits of tasks, in the order in which they happened (after those that happened before).
#[derive(Debug)]
pub struct EventStream {
    stream: UnixStream,
    buffer: Vec<u8>,
}

/// Ends an [`EventStream`] from another thread.
#[derive(Debug)]
pub struct EventStopper {
    stream: UnixStream,
}

impl EventStopper {
    /// Makes `next` return [`ClientError::Lost`].
    pub fn stop(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl EventStream {
    /// Waits for the next exit.
    #[expect(clippy::should_implement_trait, reason = "it waits, and it ends with a reason")]
    pub fn next(&mut self) -> Result<TaskExited, ClientError> {
        self.stream.set_read_timeout(None).map_err(|_| ClientError::Lost)?;
        receive(&mut self.stream, &mut self.buffer)?.ok_or(ClientError::Lost)
    }

    /// Waits for the next exit for at most `timeout`; none when there was none.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<TaskExited>, ClientError> {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1)))).map_err(|_| ClientError::Lost)?;
        receive(&mut self.stream, &mut self.buffer)
    }

    /// A handle that ends the stream from another thread.
    pub fn stopper(&self) -> Result<EventStopper, ClientError> {
        self.stream.try_clone().map(|stream| EventStopper { stream }).map_err(|_| ClientError::Lost)
    }
}

/// Reads one message. None when the socket's read timeout ran out; what was read so far stays in the buffer.
fn receive<T: DeserializeOwned>(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> Result<Option<T>, ClientError> {
    let mut chunk = [0; 4096];
    loop {
        if let Some(message) = decode(buffer, REPLY_BYTES_MAX)? {
            return Ok(Some(message));
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(ClientError::Lost),
            Ok(length) => buffer.extend_from_slice(chunk.get(..length).unwrap_or(&[])),
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) if matches!(err.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(_) => return Err(ClientError::Lost),
        }
    }
}

fn send<T: Serialize>(stream: &mut UnixStream, message: &T) -> Result<(), ClientError> {
    stream.write_all(&encode(message, REQUEST_BYTES_MAX)?).map_err(|_| ClientError::Lost)
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> ClientError {
    ClientError::Io { what, path: path.to_owned(), source }
}

fn is_absent(err: &std::io::Error) -> bool {
    matches!(err.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// A connection that the supervisor has accepted.
struct Greeted {
    stream: UnixStream,
    pid: i32,
    unenforced: BTreeMap<String, String>,
    audits: bool,
    /// What came right behind the greeting.
    buffer: Vec<u8>,
}

/// Connects and exchanges greetings.
fn greet(options: &StartOptions, purpose: Purpose) -> Result<Greeted, ClientError> {
    let mut stream = socket::connect(&options.socket).map_err(|source| io("connect to", &options.socket, source))?;
    let failed = |source| io("use", &options.socket, source);
    stream.set_read_timeout(Some(GREETING_MAX)).map_err(failed)?;
    stream.set_write_timeout(Some(GREETING_MAX)).map_err(failed)?;
    send(&mut stream, &Hello { version: VERSION, node_id: options.node_id.clone(), purpose })?;
    let mut buffer = Vec::new();
    match receive(&mut stream, &mut buffer)? {
        Some(Welcome::Accepted { pid, unenforced, audits }) => Ok(Greeted { stream, pid, unenforced, audits, buffer }),
        Some(Welcome::Refused { reason }) => Err(ClientError::Start(reason)),
        None => Err(ClientError::Silent),
    }
}

/// Keeps copies of what this supervisor holds, as long as it lives.
fn keep(options: &StartOptions) -> Result<(), ClientError> {
    let Some(keeper) = options.keeper.clone() else { return Ok(()) };
    let Greeted { stream, buffer, .. } = greet(options, Purpose::Keep)?;
    stream.set_read_timeout(None).map_err(|source| io("use", &options.socket, source))?;
    keeper.begin();
    std::thread::Builder::new()
        .name("keeper".to_owned())
        .stack_size(128 << 10)
        .spawn({
            let keeper = Arc::clone(&keeper);
            move || keeper.read(&stream, buffer)
        })
        .map(drop)
        .map_err(|source| {
            keeper.end();
            io("keep copies of", &options.socket, source)
        })
}

/// One starter at a time per socket.
fn lock(path: &Path) -> Result<File, ClientError> {
    let file = File::options().create(true).append(true).open(path).map_err(|source| io("open", path, source))?;
    let until = Instant::now() + GREETING_MAX;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(source)) => return Err(io("lock", path, source)),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() >= until => {
                return Err(ClientError::Locked(path.to_owned()));
            }
            // The holder is starting a supervisor, which takes some ten milliseconds.
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn start(options: &StartOptions) -> Result<(), ClientError> {
    match std::fs::remove_file(&options.socket) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &options.socket, err)),
        _ => {}
    }
    let listener = socket::listen(&options.socket).map_err(|source| io("listen on", &options.socket, source))?;
    let log_path = options.socket.with_extension("log");
    let log = open_log(&log_path).map_err(|source| io("open", &log_path, source))?;
    let run = RunOptions {
        node_id: options.node_id.clone(),
        socket: options.socket.clone(),
        linger: options.linger,
        remove_dir: options.remove_dir.clone(),
        at_end: options.at_end.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
        cgroup_home: None,
        takes_kept: options.keeper.is_some(),
        open_files: open_files_of_tasks(),
    };
    let run = serde_json::to_string(&run).map_err(|err| ClientError::Start(err.to_string()))?;
    let program = options.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let (ours, theirs) = UnixStream::pair().map_err(|source| io("make a socket for", &options.socket, source))?;
    let status = Command::new(&program)
        .args([SUPERVISOR_ARG, "detach", &run])
        .env_clear()
        .stdin(Stdio::from(listener))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::from(log))
        .status()
        .map_err(|source| io("run", &program, source))?;
    if !status.success() {
        return Err(ClientError::Start(last_words(options)));
    }
    if let Some(keeper) = &options.keeper {
        keeper.hand_over(&ours);
    }
    Ok(())
}

fn open_log(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let is_large = std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX);
    let mut options = File::options();
    options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    if is_large {
        file.set_len(0)?;
    }
    Ok(file)
}

/// The last line of the supervisor's log: why it ended.
fn last_words(options: &StartOptions) -> String {
    let log = std::fs::read(options.socket.with_extension("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log).into_owned();
    log.lines()
        .next_back()
        .map_or_else(|| "it ended without a word".to_owned(), |line| line.trim_start_matches("supervisor: ").to_owned())
}
