//! What the drivers have in common that run their tasks through the supervisor: one connection, one stream of exits.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drover_model::Timestamp;
use drover_model::resources::AllocatedTask;
use drover_supervisor::client::EventStopper;
use drover_supervisor::{
    Audited, Client, ClientError, EventStream, Keeper, LogSpec, Refusal, Resources, Session, SessionSpec, StartOptions,
    Started, TaskSpec, TaskState, TaskStatus,
};
use tokio::sync::oneshot;

use crate::driver::{Exit, Recovered, StartError, TaskCommand, TaskError, TaskHandle, TaskLogs, TaskUsage};
use crate::exits::Exits;

/// The stack of the thread that hears of exits, in bytes: it decodes small messages and no more.
const STACK_BYTES: usize = 128 << 10;

/// How often a task that an earlier agent has just asked for is looked at until it runs.
const STARTING_LOOKS_MAX: u32 = 400;
/// The time between two looks.
const STARTING_WAIT: Duration = Duration::from_millis(5);

/// How long a list of all tasks may be looked at again: ends since then are told anyway, and starts make it void.
const SEEN_MAX: Duration = Duration::from_millis(500);
/// How often it is looked whether a task that nobody wants has ended, which takes it half a minute at the most.
const PURGE_LOOKS_MAX: u32 = 6000;
/// After so many looks it is killed again.
const PURGE_LOOKS_PER_KILL: u32 = 100;
/// What is said of a task whose supervisor has ended and which the next one did not find.
const LOST_WITH_SUPERVISOR: &str = "the supervisor of the tasks ended unexpectedly, and the task with it";
/// What is said of a task whose end nobody saw.
const UNKNOWN_EXIT: &str = "exit code unknown";
/// How often another supervisor is looked for before the agent is told that there is none.
const REVIVALS_MAX: u32 = 5;
/// How often something is asked again whose supervisor went before it answered.
const ASKED_AGAIN_MAX: u32 = 3;
/// The wait before the second try, doubled with each further one.
const REVIVAL_WAIT: Duration = Duration::from_millis(200);
/// One that is lost sooner than this after it came hardly lived.
const SHORT_LIFE: Duration = Duration::from_secs(1);
/// So many of them in a row are followed without a wait; the waits after that are doubled that often at the most.
const SHORT_LIVES_FREE: u32 = 3;
const SHORT_LIVES_DOUBLED: u32 = 5;
/// How long a request waits for the next supervisor.
const CLIENT_WAIT: Duration = Duration::from_secs(20);

/// The supervisor of this edge as the drivers use it. When it is killed another one is started, which takes its tasks over with
/// the copies that are kept here.
#[derive(Debug)]
pub struct Supervised {
    shared: Arc<Shared>,
    lost: Mutex<Option<oneshot::Receiver<()>>>,
    /// The tasks of a moment ago: an agent that comes back asks for each of thousands.
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    at: Instant,
    losses: u64,
    tasks: BTreeMap<String, TaskStatus>,
}

#[derive(Debug)]
struct Shared {
    options: StartOptions,
    link: Mutex<Link>,
    changed: Condvar,
    exits: Exits,
}

/// The connection of the moment.
#[derive(Debug)]
struct Link {
    client: Arc<Client>,
    /// Ends the stream of exits, after which the connection is made anew.
    stopper: EventStopper,
    /// No other supervisor is wanted.
    is_over: bool,
}

/// A task that the supervisor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTask {
    /// The id it was started with.
    pub id: String,
    /// It has ended and nobody has acknowledged that yet.
    pub has_exited: bool,
    /// Its main process and when the kernel started that; none while it is being started.
    pub process: Option<(i32, u64)>,
    /// Bytes of its output that could not be written.
    pub log_bytes_dropped: u64,
}

impl Supervised {
    /// Connects to the node's supervisor, starting one when there is none, and listens to its exits.
    pub fn connect_or_start(mut options: StartOptions) -> Result<Arc<Supervised>, ClientError> {
        options.keeper = Some(Arc::new(Keeper::new()));
        let (client, events) = tried_again(|| {
            let client = renewed(Client::connect_or_start(options.clone())?, &options)?;
            let events = client.events()?;
            Ok((client, events))
        })?;
        let link = Link { client: Arc::new(client), stopper: events.stopper()?, is_over: false };
        let shared =
            Arc::new(Shared { options, link: Mutex::new(link), changed: Condvar::new(), exits: Exits::default() });
        let (lost_tx, lost) = oneshot::channel::<()>();
        let heard = shared.clone();
        std::thread::Builder::new()
            .name("exits".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                heard.listen(events);
                drop(lost_tx);
            })
            .map_err(|err| ClientError::Start(format!("start a thread: {err}")))?;
        Ok(Arc::new(Supervised { shared, lost: Mutex::new(Some(lost)), seen: Mutex::default() }))
    }

    /// Resolves (with an error) when the supervisor is gone and no other can be had. Given out once.
    pub fn lost(&self) -> Option<oneshot::Receiver<()>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The supervisor's process.
    pub fn pid(&self) -> i32 {
        self.shared.link().client.supervisor_pid()
    }

    /// Limits of tasks that can't be enforced on this machine, or for this user, and why.
    pub fn unenforced(&self) -> BTreeMap<String, String> {
        self.shared.link().client.unenforced().clone()
    }

    /// Leaves the supervisor and its tasks to a later agent; no other supervisor is started from here on.
    pub fn leave(&self) {
        let mut link = self.shared.link();
        link.is_over = true;
        link.stopper.stop();
        self.shared.changed.notify_all();
    }

    /// All tasks that it knows.
    pub fn list(&self) -> Result<Vec<KnownTask>, ClientError> {
        let tasks = tried_again(|| self.shared.client()?.list())?;
        Ok(tasks
            .into_iter()
            .map(|task| KnownTask {
                has_exited: matches!(task.state, TaskState::Exited(_)),
                process: task.started.as_ref().map(|started| (started.pid, started.start_ticks)),
                log_bytes_dropped: task.log_bytes_dropped,
                id: task.task_id,
            })
            .collect())
    }

    /// Has the supervisor look whether what the kernel has is what it knows.
    pub fn audit(&self) -> Result<Audited, ClientError> {
        tried_again(|| self.shared.client()?.audit())
    }

    /// Ends a task that nobody wants and forgets it.
    pub fn purge(&self, id: &str) -> Result<(), TaskError> {
        let exits = &self.shared.exits;
        let mut exit = exits.wait(id);
        for look in 0..PURGE_LOOKS_MAX {
            // Again and again: it may have forked meanwhile, or still be starting.
            if look % PURGE_LOOKS_PER_KILL == 0 {
                match self.client()?.kill_all(id) {
                    Ok(()) | Err(ClientError::Refused(Refusal::NotRunning)) => {}
                    Err(ClientError::Refused(Refusal::UnknownTask)) => break,
                    Err(err) => return Err(task_error(&err)),
                }
            }
            match exit.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => std::thread::sleep(STARTING_WAIT),
                _ => break,
            }
        }
        exits.forget(id);
        gone_is_fine(self.client()?.remove(id))
    }

    /// Ends the supervisor, and its tasks with it when so told. Without, it refuses while one runs.
    pub fn shutdown(&self, end_tasks: bool) -> Result<(), ClientError> {
        // One that was killed has left tasks: the next one ends them before it can be asked.
        let client = self.shared.client()?;
        self.shared.link().is_over = true;
        let ended = match client.shutdown(end_tasks) {
            Err(ClientError::Lost) if end_tasks => {
                Client::connect_or_start(self.shared.options.clone())?.shutdown(end_tasks)
            }
            ended => ended,
        };
        self.shared.link().is_over = ended.is_ok();
        ended
    }

    pub(crate) fn start(&self, driver: &str, spec: TaskSpec) -> Result<TaskHandle, StartError> {
        let id = spec.id.clone();
        let exits = &self.shared.exits;
        // What was seen before holds no more, and its memory is free.
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for is_last in [false, true] {
            // What an earlier life of the task left under this id is not this one's end.
            exits.forget(&id);
            let losses = exits.losses();
            match self.shared.client().and_then(|client| client.start_task(spec.clone())) {
                Ok(started) if exits.note_running(&id, (started.pid, started.start_ticks), losses) => {
                    return Ok(handle_of(driver, id, &started));
                }
                Err(ClientError::Refused(Refusal::StartFailed(reason))) => return Err(launch_error(&reason)),
                Err(err) if is_last => return Err(StartError::Failed(chain(&err))),
                // It was asked for before, and the answer was lost: nobody watches that one.
                Err(ClientError::Refused(Refusal::TaskExists)) => {
                    self.purge(&id).map_err(|err| StartError::Failed(err.to_string()))?;
                }
                Ok(_) | Err(ClientError::Lost) => {}
                Err(err) => return Err(StartError::Failed(chain(&err))),
            }
        }
        Err(StartError::Failed(LOST_WITH_SUPERVISOR.to_owned()))
    }

    pub(crate) fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.shared.exits.wait(&handle.id)
    }

    pub(crate) fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        self.client()?.signal(&handle.id, signal).map_err(|err| task_error(&err))
    }

    pub(crate) fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.client()?.kill_all(&handle.id).map_err(|err| task_error(&err))
    }

    pub(crate) fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        let removed = gone_is_fine(self.client()?.remove(&handle.id));
        self.shared.exits.forget(&handle.id);
        removed
    }

    pub(crate) fn recover(&self, handle: &TaskHandle) -> Result<Recovered, TaskError> {
        let mut looks = 0;
        loop {
            let (task, losses) = self.look_at(&handle.id, looks > 0)?;
            let Some(task) = task else { return Ok(Recovered::Unknown) };
            match (task.state, task.started) {
                (TaskState::Exited(exit), _) => return Ok(Recovered::Exited(exit_of(&exit))),
                (_, Some(started))
                    if self.shared.exits.note_running(&handle.id, (started.pid, started.start_ticks), losses) =>
                {
                    return Ok(Recovered::Running(handle_of(&handle.driver, task.task_id, &started)));
                }
                (_, Some(_)) if looks < STARTING_LOOKS_MAX => {}
                // An agent that is gone has asked for it a moment ago: nobody is told whether it came up, so look again.
                (_, None) if looks < STARTING_LOOKS_MAX => std::thread::sleep(STARTING_WAIT),
                (_, _) => return Err(TaskError::Failed("the task does not get started".to_owned())),
            }
            looks += 1;
        }
    }

    /// The task as it stands, or stood less than a moment ago, and how many supervisors were lost before that was said.
    fn look_at(&self, id: &str, is_fresh: bool) -> Result<(Option<TaskStatus>, u64), TaskError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let losses = self.shared.exits.losses();
        match &*seen {
            Some(seen) if !is_fresh && seen.losses == losses && seen.at.elapsed() < SEEN_MAX => {
                return Ok((seen.tasks.get(id).cloned(), losses));
            }
            _ => {}
        }
        let at = Instant::now();
        // One that was just killed may still have taken the connection.
        let tasks = tried_again(|| self.shared.client()?.list()).map_err(|err| task_error(&err))?;
        let tasks: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.task_id.clone(), task)).collect();
        let task = tasks.get(id).cloned();
        *seen = Some(Seen { at, losses, tasks });
        Ok((task, losses))
    }

    pub(crate) fn exec(
        &self,
        handle: &TaskHandle,
        command: TaskCommand,
        user: Option<String>,
        cwd: PathBuf,
        fds: [BorrowedFd<'_>; 3],
    ) -> Result<Session, TaskError> {
        let TaskCommand { argv, env, is_terminal, user: _, task_dir: _, has_image } = command;
        let spec = SessionSpec { task_id: handle.id.clone(), argv, env, cwd, user, is_terminal, has_image };
        self.client()?.session(&spec, fds).map_err(|err| task_error(&err))
    }

    pub(crate) fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        let stats = self.client()?.stats(&handle.id).map_err(|err| task_error(&err))?;
        Ok(TaskUsage {
            cpu_total_ns: stats.cpu_total_ns,
            cpu_user_ns: stats.cpu_user_ns,
            cpu_system_ns: stats.cpu_system_ns,
            throttled_periods: stats.throttled_periods,
            throttled_ns: stats.throttled_ns,
            memory_usage_bytes: stats.memory_usage_bytes,
            memory_max_usage_bytes: stats.memory_max_usage_bytes,
            memory_swap_bytes: stats.memory_swap_bytes,
            memory_rss_bytes: stats.memory_rss_bytes,
            memory_cache_bytes: stats.memory_cache_bytes,
        })
    }

    fn client(&self) -> Result<Arc<Client>, TaskError> {
        self.shared.client().map_err(|err| task_error(&err))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; while there is none, the next one.
    fn client(&self) -> Result<Arc<Client>, ClientError> {
        let until = Instant::now() + CLIENT_WAIT;
        let mut link = self.link();
        loop {
            if link.client.is_connected() {
                return Ok(link.client.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if link.is_over || left.is_zero() {
                return Err(ClientError::Lost);
            }
            // Where only this connection is gone, the listening thread has not noticed.
            link.stopper.stop();
            link = self.changed.wait_timeout(link, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hears of exits, of one supervisor after another, until none is wanted or none can be had.
    fn listen(&self, mut events: EventStream) {
        let mut short_lives = 0u32;
        loop {
            let since = Instant::now();
            while let Ok(exited) = events.next() {
                self.exits.deliver(&exited.task_id, exited.process, exit_of(&exited.exit));
            }
            short_lives = if since.elapsed() < SHORT_LIFE { short_lives.saturating_add(1) } else { 0 };
            std::thread::sleep(wait_after(short_lives));
            match self.revive() {
                Some(next) => events = next,
                None => break,
            }
        }
        self.link().is_over = true;
        self.changed.notify_all();
        self.exits.close();
    }

    fn revive(&self) -> Option<EventStream> {
        for attempt in 0..REVIVALS_MAX {
            if self.link().is_over {
                return None;
            }
            match self.connect_again() {
                Ok(events) => return Some(events),
                Err(error) => tracing::error!(error = %chain(&error), "no supervisor of the tasks"),
            }
            std::thread::sleep(REVIVAL_WAIT * 2u32.pow(attempt));
        }
        None
    }

    fn connect_again(&self) -> Result<EventStream, ClientError> {
        let before = self.link().client.supervisor_pid();
        let client = Client::connect_or_start(self.options.clone())?;
        let (events, tasks) = (client.events()?, client.list()?);
        let mut link = self.link();
        if link.is_over {
            // It was not wanted any more; without tasks it ends by itself.
            return Err(ClientError::Lost);
        }
        let pid = client.supervisor_pid();
        if pid != before {
            tracing::error!(before, pid, "the supervisor of the tasks ended unexpectedly; there is another one");
        }
        link.stopper = events.stopper()?;
        link.client = Arc::new(client);
        let known = tasks.into_iter().map(|task| task.task_id).collect();
        let now = timestamp(SystemTime::now());
        let exit = Exit { exit_code: -1, message: LOST_WITH_SUPERVISOR.to_owned(), at: now, ..Exit::default() };
        self.exits.lose_all_but(&known, &exit);
        drop(link);
        self.changed.notify_all();
        Ok(events)
    }
}

/// Something kills supervisors that hardly live: what was asked of one is asked of the next, a few times.
fn tried_again<T>(mut ask: impl FnMut() -> Result<T, ClientError>) -> Result<T, ClientError> {
    for attempt in 0..ASKED_AGAIN_MAX {
        match ask() {
            Err(ClientError::Start(_) | ClientError::Lost) => std::thread::sleep(REVIVAL_WAIT * 2u32.pow(attempt)),
            other => return other,
        }
    }
    ask()
}

/// The wait before the next supervisor when so many in a row have hardly lived: something ends each of them.
fn wait_after(short_lives: u32) -> Duration {
    match short_lives.checked_sub(SHORT_LIVES_FREE) {
        None | Some(0) => Duration::ZERO,
        Some(more) => REVIVAL_WAIT * 2u32.pow(more.min(SHORT_LIVES_DOUBLED)),
    }
}

/// A supervisor that was started from another program, before an upgrade mostly, goes on as this one. One that can't stays.
fn renewed(client: Client, options: &StartOptions) -> Result<Client, ClientError> {
    let Ok(program) = options.program.clone().map_or_else(std::env::current_exe, Ok) else { return Ok(client) };
    let identity = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
    };
    let exe = format!("/proc/{}/exe", client.supervisor_pid());
    let exe = Path::new(&exe);
    match (identity(exe), identity(&program)) {
        (Ok(running), Ok(wanted)) if running != wanted && !drover_supervisor::is_copy_of(exe, &program) => {}
        _ => return Ok(client),
    }
    match client.replace(&program) {
        Ok(()) => {
            tracing::info!(program = %program.display(), "the supervisor goes on as this program");
            Client::connect_or_start(options.clone())
        }
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the supervisor stays what it is");
            Ok(client)
        }
    }
}

/// A start that failed below the driver, in the words that scripts know.
pub(crate) fn launch_error(reason: &str) -> StartError {
    StartError::Failed(format!("failed to launch command with executor: rpc error: code = Unknown desc = {reason}"))
}

/// The two log files of a task.
pub(crate) fn logs_of(logs: Option<&TaskLogs>) -> (Option<LogSpec>, Option<LogSpec>) {
    let of = |stream: &str| {
        logs.map(|logs| LogSpec {
            dir: logs.dir.clone(),
            prefix: format!("{}.{stream}", logs.task),
            max_files: logs.files_max,
            max_file_size_bytes: logs.file_bytes_max,
        })
    };
    (of("stdout"), of("stderr"))
}

/// The limits of a task's cgroup.
pub(crate) fn resources_of(given: &AllocatedTask) -> Resources {
    let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
    let bytes = |mib: i64| positive(mib).map(|mib| mib << 20);
    Resources {
        cores: given.cpu.reserved_cores.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
        cpu_mhz: positive(given.cpu.mhz),
        memory_bytes: bytes(given.memory.mib),
        memory_max_bytes: bytes(given.memory.max_mib),
        pids_max: None,
    }
}

fn handle_of(driver: &str, id: String, started: &Started) -> TaskHandle {
    TaskHandle {
        driver: driver.to_owned(),
        id,
        pid: started.pid,
        start_ticks: started.start_ticks,
        started_at: timestamp(started.started_at),
        limits_reason: started.limits_reason.clone().unwrap_or_default(),
    }
}

fn exit_of(exit: &drover_supervisor::Exit) -> Exit {
    Exit {
        exit_code: i64::from(exit.exit_code),
        // The kernel's own kill for want of memory is told by its flag; its signal is not the operator's business.
        signal: if exit.oom_killed { 0 } else { i64::from(exit.signal) },
        oom_killed: exit.oom_killed,
        message: if exit.is_unknown { UNKNOWN_EXIT.to_owned() } else { String::new() },
        at: timestamp(exit.at),
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn task_error(error: &ClientError) -> TaskError {
    match error {
        ClientError::Refused(Refusal::UnknownTask | Refusal::NotRunning) => TaskError::Gone,
        other => TaskError::Failed(chain(other)),
    }
}

fn gone_is_fine(result: Result<(), ClientError>) -> Result<(), TaskError> {
    match result {
        Ok(()) | Err(ClientError::Refused(Refusal::UnknownTask)) => Ok(()),
        Err(err) => Err(task_error(&err)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisors_that_keep_ending_are_not_started_in_a_loop() {
        let check = |short_lives: u32, millis: u64| {
            assert_eq!(wait_after(short_lives), Duration::from_millis(millis), "{short_lives}");
        };
        check(0, 0);
        check(3, 0);
        check(4, 400);
        check(8, 6400);
        check(u32::MAX, 6400);
    }
}
