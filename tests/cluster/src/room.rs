//! A network and a mount namespace of a test's own: the fixed ports and paths of the getting-started files are free there.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use drover_harness::binaries::binary;
use drover_harness::output::output;
use drover_harness::{processes, wait_for};
use rustix::process::Signal;

use crate::cli::{Said, said};

const READY_MAX: Duration = Duration::from_secs(120);
/// The longest wait for supervisors that were asked to end.
const LEFT_MAX: Duration = Duration::from_secs(20);

/// Where the binaries are inside: `/tmp` is another one there, and the build may be below it.
const BINARIES: &str = "/run/binaries";
/// The working directory of everything that is started inside.
const WORK: &str = "/run/work";

/// An empty `/tmp` and `/run`, a loopback interface, and nothing else. Everything inside ends when this is dropped.
pub struct Room {
    keeper: Child,
}

impl Room {
    /// Makes one; none without root, with a word about it.
    ///
    /// # Panics
    /// It can't be made although the test is root.
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: namespaces of a test's own need root");
            return None;
        }
        let build = binary("drover");
        let script = "mount -t tmpfs none /run && mkdir /run/binaries /run/work && \
                      mount --bind \"$0\" /run/binaries && mount -t tmpfs none /tmp && ip link set lo up && \
                      touch /run/ready && exec sleep infinity";
        let mut command = Command::new("unshare");
        command
            .args(["--net", "--mount", "sh", "-c", script])
            .arg(build.parent().expect("a file is in a directory"))
            .current_dir("/")
            .stdin(Stdio::null());
        let room = Self { keeper: command.spawn().expect("unshare is installed") };
        wait_for(
            "the namespaces",
            READY_MAX,
            || {
                if room.path("/run/ready").exists() { Ok(()) } else { Err("not made") }
            },
        );
        Some(room)
    }

    /// A path inside as it is reached from outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{inside}", self.keeper.id()))
    }

    /// The working directory as it is reached from outside.
    pub fn dir(&self) -> PathBuf {
        self.path(WORK)
    }

    /// A command inside: the started process is the program itself. `program` is one of ours, or a path.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.keeper.id().to_string(), "-n", "-m"]).arg(format!("--wd={}", self.dir().display()));
        if program.starts_with('/') {
            command.arg(program);
        } else {
            command.arg(Path::new(BINARIES).join(program));
        }
        command.args(args).env_remove("DROVER_ADDR").env_remove("NOMAD_ADDR").stdin(Stdio::null());
        command
    }

    /// Runs `drover` inside.
    ///
    /// # Panics
    /// It can't be run, or does not end.
    pub fn drover(&self, args: &[&str]) -> Said {
        said(output(&mut self.command("drover", args)))
    }

    /// The same, where it must succeed.
    ///
    /// # Panics
    /// It does not.
    pub fn drover_ok(&self, args: &[&str]) -> String {
        let said = self.drover(args);
        assert_eq!(said.code, 0, "drover {args:?}: {said:#?}");
        said.stdout
    }

    /// Starts an agent inside; its words go to `<name>.log` in the working directory.
    ///
    /// # Panics
    /// It can't be run.
    pub fn agent(&self, program: &str, name: &str, args: &[&str]) -> Child {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.dir().join(format!("{name}.log")))
            .expect("the working directory takes a file");
        let mut all = vec!["agent"];
        all.extend(args);
        self.command(program, &all)
            .env("TMPDIR", WORK)
            .stderr(log.try_clone().expect("a second handle of a file"))
            .stdout(log)
            .process_group(0)
            .spawn()
            .expect("the agent runs")
    }

    /// What an agent has said so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Processes inside, without the one that keeps the room.
    pub fn processes(&self) -> Vec<u32> {
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let keeper = self.keeper.id();
        let Some(own) = net(&keeper.to_string()) else {
            return Vec::new();
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let pid: u32 = name.parse().ok()?;
                (pid != keeper && net(&name)? == own).then_some(pid)
            })
            .collect()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Supervisors end their tasks and remove their cgroups when they are asked to.
        for signal in [Signal::TERM, Signal::KILL] {
            let end = std::time::Instant::now() + LEFT_MAX;
            let mut left = self.processes();
            for pid in &left {
                processes::signal(*pid, signal);
            }
            while left.iter().any(|pid| processes::is_running(*pid)) && std::time::Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
                left = self.processes();
            }
        }
        processes::signal(self.keeper.id(), Signal::KILL);
        // Its mounts go with it; whatever its status is, it is gone then.
        let _ = self.keeper.wait();
    }
}

/// Ends an agent with a signal and gives its exit code.
///
/// # Panics
/// It does not end in time.
pub fn end(agent: &mut Child, signal: Signal) -> Option<i32> {
    // The number of one that has ended may be somebody else's by now.
    if matches!(agent.try_wait(), Ok(None)) {
        processes::signal(agent.id(), signal);
    }
    ended(agent, "asked to")
}

/// The exit code of an agent that ends by itself.
///
/// # Panics
/// It does not end in time.
pub fn ended(agent: &mut Child, why: &str) -> Option<i32> {
    wait_for(&format!("the agent's end: {why}"), READY_MAX, || agent.try_wait().ok().flatten().ok_or("it runs")).code()
}
