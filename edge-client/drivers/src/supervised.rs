//! What the drivers have in common that run their tasks through the supervisor: one connection, one stream of exits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use drover_model::Timestamp;
use drover_model::resources::AllocatedTask;
use drover_supervisor::{Client, ClientError, LogSpec, Refusal, Resources, StartOptions, Started, TaskSpec, TaskState};
use tokio::sync::oneshot;

use crate::driver::{Exit, Recovered, StartError, TaskError, TaskHandle, TaskLogs, TaskUsage};
use crate::exits::Exits;

/// The stack of the thread that hears of exits, in bytes: it decodes small messages and no more.
const STACK_BYTES: usize = 128 << 10;

/// How often a task that an earlier agent has just asked for is looked at until it runs.
const STARTING_LOOKS_MAX: u32 = 400;
/// The time between two looks.
const STARTING_WAIT: std::time::Duration = std::time::Duration::from_millis(5);

/// The supervisor of this edge as the drivers use it.
#[derive(Debug)]
pub struct Supervised {
    client: Client,
    exits: Arc<Exits>,
    lost: Mutex<Option<oneshot::Receiver<()>>>,
}

/// A task that the supervisor knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTask {
    /// The id it was started with.
    pub id: String,
    /// It has ended and nobody has acknowledged that yet.
    pub has_exited: bool,
}

impl Supervised {
    /// Connects to the node's supervisor, starting one when there is none, and listens to its exits.
    pub fn connect_or_start(options: StartOptions) -> Result<Arc<Supervised>, ClientError> {
        let client = Client::connect_or_start(options)?;
        let mut events = client.events()?;
        let exits = Arc::new(Exits::default());
        let (lost_tx, lost) = oneshot::channel::<()>();
        let heard = exits.clone();
        let listen = move || {
            while let Ok(exited) = events.next() {
                heard.deliver(&exited.task_id, exit_of(&exited.exit));
            }
            heard.close();
            drop(lost_tx);
        };
        std::thread::Builder::new()
            .name("exits".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(listen)
            .map_err(|err| ClientError::Start(format!("start a thread: {err}")))?;
        Ok(Arc::new(Supervised { client, exits, lost: Mutex::new(Some(lost)) }))
    }

    /// Resolves (with an error) when the supervisor is gone. Given out once.
    pub fn lost(&self) -> Option<oneshot::Receiver<()>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The supervisor's process.
    pub fn pid(&self) -> i32 {
        self.client.supervisor_pid()
    }

    /// All tasks that it knows.
    pub fn list(&self) -> Result<Vec<KnownTask>, ClientError> {
        let tasks = self.client.list()?;
        Ok(tasks
            .into_iter()
            .map(|task| KnownTask { id: task.task_id, has_exited: matches!(task.state, TaskState::Exited(_)) })
            .collect())
    }

    /// Ends a task that nobody wants and forgets it.
    pub fn purge(&self, id: &str) -> Result<(), TaskError> {
        let exit = self.exits.wait(id);
        match self.client.kill_all(id) {
            Ok(()) => drop(exit.blocking_recv()),
            Err(ClientError::Refused(Refusal::NotRunning | Refusal::UnknownTask)) => {}
            Err(err) => return Err(task_error(&err)),
        }
        self.exits.forget(id);
        gone_is_fine(self.client.remove(id))
    }

    /// Ends the supervisor, and its tasks with it when so told. Without, it refuses while one runs.
    pub fn shutdown(&self, end_tasks: bool) -> Result<(), ClientError> {
        match self.client.shutdown(end_tasks) {
            // It ends its connections when it ends: what was asked for has happened.
            Err(ClientError::Lost) => Ok(()),
            other => other,
        }
    }

    pub(crate) fn start(&self, driver: &str, spec: TaskSpec) -> Result<TaskHandle, StartError> {
        let id = spec.id.clone();
        // What an earlier life of the task left under this id is not this one's end.
        self.exits.forget(&id);
        match self.client.start_task(spec) {
            Ok(started) => Ok(handle_of(driver, id, &started)),
            Err(ClientError::Refused(Refusal::StartFailed(reason))) => Err(launch_error(&reason)),
            Err(err) => Err(StartError::Failed(chain(&err))),
        }
    }

    pub(crate) fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.exits.wait(&handle.id)
    }

    pub(crate) fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        self.client.signal(&handle.id, signal).map_err(|err| task_error(&err))
    }

    pub(crate) fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.client.kill_all(&handle.id).map_err(|err| task_error(&err))
    }

    pub(crate) fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        let removed = gone_is_fine(self.client.remove(&handle.id));
        self.exits.forget(&handle.id);
        removed
    }

    pub(crate) fn recover(&self, handle: &TaskHandle) -> Result<Recovered, TaskError> {
        let mut looks = 0;
        loop {
            let tasks = self.client.list().map_err(|err| task_error(&err))?;
            let Some(task) = tasks.into_iter().find(|task| task.task_id == handle.id) else {
                return Ok(Recovered::Unknown);
            };
            match (task.state, task.started) {
                (TaskState::Exited(exit), _) => return Ok(Recovered::Exited(exit_of(&exit))),
                (_, Some(started)) => return Ok(Recovered::Running(handle_of(&handle.driver, task.task_id, &started))),
                // An agent that is gone has asked for it a moment ago: nobody is told whether it came up, so look again.
                (_, None) if looks < STARTING_LOOKS_MAX => std::thread::sleep(STARTING_WAIT),
                (_, None) => return Err(TaskError::Failed("the task does not get started".to_owned())),
            }
            looks += 1;
        }
    }

    pub(crate) fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        let stats = self.client.stats(&handle.id).map_err(|err| task_error(&err))?;
        Ok(TaskUsage {
            cpu_total_ns: stats.cpu_total_ns,
            cpu_user_ns: stats.cpu_user_ns,
            cpu_system_ns: stats.cpu_system_ns,
            throttled_periods: stats.throttled_periods,
            throttled_ns: stats.throttled_ns,
            memory_usage_bytes: stats.memory_usage_bytes,
            memory_max_usage_bytes: stats.memory_max_usage_bytes,
            memory_rss_bytes: stats.memory_rss_bytes,
            memory_cache_bytes: stats.memory_cache_bytes,
        })
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
        message: String::new(),
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
