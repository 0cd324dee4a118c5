//! `raw_exec`: a program of the host, as the agent's user, with nothing between it and the machine but its cgroup.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drover_supervisor::{Isolation, Session, TaskSpec};
use tokio::sync::oneshot;

use crate::denied_ids::DeniedIds;
use crate::driver::{
    Driver, Exit, Fingerprint, Recovered, StartError, TaskCommand, TaskError, TaskHandle, TaskStart, TaskUsage, View,
};
use crate::registry::{Registered, Setup};
use crate::supervised::{Supervised, launch_error, logs_of, resources_of};
use crate::task_config::ConfigReader;

/// The word after `driver =`.
pub const NAME: &str = "raw_exec";

/// The plugin's settings. The driver exists only where the operator turned it on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawExecConfig {
    /// Names or patterns (`*`) that no task gets in its environment.
    pub denied_envvars: Vec<String>,
    /// Users and groups of the host that no task may have.
    pub denied: DeniedIds,
}

/// The line of the registry.
pub(crate) fn register(setup: &Setup<'_>, config: &mut ConfigReader<'_>) -> Registered {
    let is_enabled = config.flag("enabled").unwrap_or(false) || setup.settings.raw_exec_enabled;
    let settings = RawExecConfig { denied_envvars: config.texts("denied_envvars"), denied: DeniedIds::read(config) };
    match is_enabled {
        true => Ok(Arc::new(RawExec::new(settings, setup.supervised.clone()))),
        false => Err("disabled".to_owned()),
    }
}

/// The driver.
#[derive(Debug)]
pub struct RawExec {
    config: RawExecConfig,
    supervised: Arc<Supervised>,
}

impl RawExec {
    /// The driver on that supervisor.
    pub fn new(config: RawExecConfig, supervised: Arc<Supervised>) -> Self {
        Self { config, supervised }
    }
}

impl Driver for RawExec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::healthy(NAME)
    }

    fn view(&self) -> View {
        View::Host
    }

    fn takes_devices(&self) -> bool {
        // They are where the task sees them.
        true
    }

    fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError> {
        let spec = spec(&self.config, start)?;
        self.supervised.start(NAME, spec)
    }

    fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.supervised.wait(handle)
    }

    fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        self.supervised.signal(handle, signal)
    }

    fn kill(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.supervised.kill(handle)
    }

    fn destroy(&self, handle: &TaskHandle) -> Result<(), TaskError> {
        self.supervised.destroy(handle)
    }

    fn recover(&self, handle: &TaskHandle) -> Result<Recovered, TaskError> {
        self.supervised.recover(handle)
    }

    fn exec(&self, handle: &TaskHandle, command: TaskCommand, fds: [BorrowedFd<'_>; 3]) -> Result<Session, TaskError> {
        let (user, cwd) = (Some(command.user.clone()).filter(|user| !user.is_empty()), command.task_dir.clone());
        self.supervised.exec(handle, command, user, cwd, fds)
    }

    fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        self.supervised.stats(handle)
    }
}

/// What the supervisor is asked to start.
fn spec(plugin: &RawExecConfig, start: TaskStart) -> Result<TaskSpec, StartError> {
    let mut config = ConfigReader::new(&start.config);
    let command = config.required_text("command");
    let args = config.texts("args");
    let work_dir = config.text("work_dir");
    let oom_score_adj = config.number("oom_score_adj");
    let denied = config.texts("denied_envvars");
    let has_v1 = config.is_given("cgroup_v1_override");
    let has_v2 = config.is_given("cgroup_v2_override");
    config.finish()?;

    let invalid = |text: &str| Err(StartError::Final(format!("failed driver config validation: {text}")));
    if !work_dir.is_empty() && !Path::new(&work_dir).is_absolute() {
        return invalid("work_dir must be an absolute path");
    }
    if oom_score_adj.is_some_and(|adjustment| adjustment < 0) {
        return invalid("oom_score_adj must not be negative");
    }
    if has_v1 && has_v2 {
        return invalid("only one of cgroups_v1_override and cgroups_v2_override may be set");
    }
    if has_v1 || has_v2 {
        // The supervisor ends a task by its cgroup: one that is shared with others would take them along.
        return invalid("a task runs in a cgroup of its own; cgroup overrides are not supported");
    }
    if !start.user.is_empty() {
        if let Err(error) = drover_supervisor::users::lookup(&start.user) {
            return invalid(&format!("failed to identify user {:?}: {error}", start.user));
        }
        if let Err(text) = plugin.denied.check(&start.user) {
            return invalid(&text);
        }
    }

    let mut env = start.env;
    env.retain(|name, _| !plugin.denied_envvars.iter().chain(&denied).any(|pattern| matches(pattern, name)));
    let command = find_command(&command, env.get("PATH").map_or("", String::as_str))
        .ok_or_else(|| launch_error(&format!("binary {command:?} could not be found")))?;
    let mut argv = vec![command];
    argv.extend(args);
    let (stdout, stderr) = logs_of(start.logs.as_ref());
    Ok(TaskSpec {
        id: start.id,
        argv,
        env,
        cwd: if work_dir.is_empty() { start.dirs.task_dir } else { PathBuf::from(work_dir) },
        user: Some(start.user).filter(|user| !user.is_empty()),
        stdout,
        stderr,
        resources: resources_of(&start.resources),
        oom_score_adj: oom_score_adj.map(|adjustment| i32::try_from(adjustment).unwrap_or(1000).min(1000)),
        network_namespace: start.network_namespace,
        isolation: Isolation::None,
    })
}

/// The file to run: a path as it is, a bare name from the search path.
fn find_command(command: &str, search_path: &str) -> Option<String> {
    if command.contains('/') {
        return Path::new(command).is_file().then(|| command.to_owned());
    }
    if command.is_empty() {
        return None;
    }
    let search_path = if search_path.is_empty() { "/usr/local/bin:/usr/bin:/bin" } else { search_path };
    search_path.split(':').filter(|dir| dir.starts_with('/')).find_map(|dir| {
        let file = Path::new(dir).join(command);
        is_executable(&file).then(|| file.to_string_lossy().into_owned())
    })
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::TaskDirs;
    use serde_json::{Value, json};

    fn start(config: Value) -> TaskStart {
        TaskStart {
            id: "a.t".to_owned(),
            config: serde_json::from_value(config).unwrap(),
            user: String::new(),
            env: [("PATH", "/usr/bin:/bin"), ("KEEP", "1"), ("AWS_KEY", "2")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            dirs: TaskDirs { alloc_dir: "/d/a/alloc".into(), task_dir: "/d/a/t".into() },
            ..TaskStart::default()
        }
    }

    #[test]
    fn a_config_becomes_a_command() {
        let spec = spec(
            &RawExecConfig { denied_envvars: vec!["AWS_*".into()], ..RawExecConfig::default() },
            start(json!({"command": "sh", "args": ["-c", "x"]})),
        )
        .unwrap();
        assert!(spec.argv[0].ends_with("/sh"), "{:?}", spec.argv);
        assert_eq!(&spec.argv[1..], ["-c", "x"]);
        assert_eq!(spec.cwd, PathBuf::from("/d/a/t"));
        assert_eq!(spec.env.keys().collect::<Vec<_>>(), ["KEEP", "PATH"]);
        assert_eq!(spec.user, None);
    }

    #[test]
    fn a_config_that_cannot_work_is_refused_in_words() {
        let check = |config: Value, expected: StartError| {
            assert_eq!(spec(&RawExecConfig::default(), start(config)).unwrap_err(), expected);
        };
        let invalid = |text: &str| StartError::Final(format!("failed driver config validation: {text}"));
        check(json!({"command": "sh", "work_dir": "tmp"}), invalid("work_dir must be an absolute path"));
        check(json!({"command": "sh", "oom_score_adj": -1}), invalid("oom_score_adj must not be negative"));
        check(
            json!({"command": "sh", "cgroup_v2_override": "a", "cgroup_v1_override": [{"cpu": "b"}]}),
            invalid("only one of cgroups_v1_override and cgroups_v2_override may be set"),
        );
        check(json!({"command": "no-such-binary"}), launch_error("binary \"no-such-binary\" could not be found"));
        let mut unknown = start(json!({"command": "sh"}));
        unknown.user = "no-such-user".to_owned();
        assert_eq!(
            spec(&RawExecConfig::default(), unknown).unwrap_err(),
            invalid("failed to identify user \"no-such-user\": user: unknown user no-such-user"),
        );
    }

    #[test]
    fn patterns_match_whole_names() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}")
        };
        check("A", "A", true);
        check("A", "AB", false);
        check("A*", "AB", true);
        check("*B", "AB", true);
        check("A*C*E", "ABCDE", true);
        check("A*C*E", "ABCD", false);
        check("*", "", true);
        check("", "A", false);
    }
}
