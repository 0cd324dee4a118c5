//! `qemu`: a virtual machine, run by the emulator of the host as a process of the supervisor.
//!
//! The emulator belongs to the task's cgroup, whose memory limit leaves it room beside the guest's own memory. What the
//! guest writes on its console is the task's log.

use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drover_supervisor::{Isolation, Session, TaskSpec};
use tokio::sync::oneshot;

use crate::driver::{
    Driver, Exit, Fingerprint, Recovered, StartError, TaskCommand, TaskError, TaskHandle, TaskPort, TaskStart,
    TaskUsage, View,
};
use crate::qemu_image;
use crate::registry::{Registered, Setup};
use crate::supervised::{Supervised, logs_of, resources_of};
use crate::task_config::ConfigReader;
use crate::tool::{self, Answer};

/// The word after `driver =`.
pub const NAME: &str = "qemu";

/// What the names of all emulators begin with.
const EMULATOR: &str = "qemu-system-";
/// Memory of a guest, in MiB.
const MEMORY_MIB: std::ops::RangeInclusive<i64> = 128..=4_000_000;
/// What the emulator itself may take beside the guest's memory, in MiB; its translated code is a part of it.
const OVERHEAD_MIB: u64 = 192;
/// The emulator's store of translated code, in MiB.
const TRANSLATED_MIB: u64 = 64;
/// Sockets of the task's directory, by names that fit whatever the directory's own is.
const MONITOR: &str = "qm.sock";
const AGENT: &str = "qa.sock";
/// How long the emulator may take to hear a command.
const MONITOR_MAX: Duration = Duration::from_secs(2);
/// By which the monitor asks for a command.
const PROMPT: &[u8] = b"(qemu) ";
/// More of an answer is not read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// What a disk may be connected by.
const INTERFACES: &[&str] = &["ide", "scsi", "sd", "mtd", "floppy", "pflash", "virtio", "none"];

/// Options that have no value: a word behind one is none.
const VALUELESS: &[&str] = &[
    "",
    "S",
    "alt-grab",
    "audio-help",
    "ctrl-grab",
    "curses",
    "daemonize",
    "enable-fips",
    "enable-kvm",
    "enable-sync-profile",
    "full-screen",
    "h",
    "help",
    "localtime",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-frame",
    "no-hpet",
    "no-kvm",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "old-param",
    "portrait",
    "preconfig",
    "rtc-td-hack",
    "s",
    "sdl",
    "semihosting",
    "show-cursor",
    "singlestep",
    "snapshot",
    "tdf",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-domid-restrict",
];

/// The plugin's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QemuConfig {
    /// Directories of the host with images that tasks may use.
    pub image_paths: Vec<PathBuf>,
    /// The only options that tasks may give the emulator; empty means all.
    pub args_allowlist: Vec<String>,
    /// The only emulators that tasks may use; empty means all.
    pub emulators_allowlist: Vec<String>,
}

/// The line of the registry.
pub(crate) fn register(setup: &Setup<'_>, config: &mut ConfigReader<'_>) -> Registered {
    let settings = QemuConfig {
        image_paths: config.texts("image_paths").into_iter().map(PathBuf::from).collect(),
        args_allowlist: config.texts("args_allowlist").iter().map(|flag| plain_flag(flag).to_owned()).collect(),
        emulators_allowlist: config.texts("emulators_allowlist").iter().map(|name| suffix(name).to_owned()).collect(),
    };
    if settings.image_paths.iter().any(|path| !path.is_absolute()) {
        config.problem("image_paths must be absolute".to_owned());
    }
    Ok(Arc::new(Qemu::new(settings, setup.supervised.clone())))
}

/// The driver.
#[derive(Debug)]
pub struct Qemu {
    config: QemuConfig,
    supervised: Arc<Supervised>,
    version: Answer,
}

impl Qemu {
    /// The driver on that supervisor.
    pub fn new(config: QemuConfig, supervised: Arc<Supervised>) -> Self {
        Self { config, supervised, version: Answer::default() }
    }
}

impl Driver for Qemu {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fingerprint(&self) -> Fingerprint {
        let emulators: Vec<String> =
            tool::suffixes(EMULATOR).into_iter().filter(|name| is_allowed(&self.config, name)).collect();
        let Some(first) = emulators.iter().find(|name| *name == "x86_64").or(emulators.first()) else {
            return Fingerprint::undetected("no qemu-system-… on the agent's search path");
        };
        let version = tool::find(&format!("{EMULATOR}{first}"))
            .and_then(|program| self.version.of(&program, &["--version"]))
            .and_then(|words| version_in(&words));
        let Some(version) = version else {
            return Fingerprint {
                detected: true,
                description: format!("{EMULATOR}{first} does not say its version"),
                ..Fingerprint::default()
            };
        };
        let mut fingerprint = Fingerprint::healthy(NAME);
        fingerprint.attributes.insert("driver.qemu.version".to_owned(), version);
        fingerprint.attributes.insert("driver.qemu.emulators".to_owned(), emulators.join(","));
        fingerprint
    }

    fn view(&self) -> View {
        View::Host
    }

    fn start(&self, start: TaskStart) -> Result<TaskHandle, StartError> {
        // A socket of an earlier life would be taken for this one's.
        let sockets = [MONITOR, AGENT].map(|name| start.dirs.task_dir.join(name));
        let spec = spec(&self.config, start)?;
        for socket in sockets {
            let _ = std::fs::remove_file(socket);
        }
        self.supervised.start(NAME, spec)
    }

    fn wait(&self, handle: &TaskHandle) -> oneshot::Receiver<Exit> {
        self.supervised.wait(handle)
    }

    fn signal(&self, handle: &TaskHandle, signal: i32) -> Result<(), TaskError> {
        // A machine is only ever asked to end. One with a monitor is told so by its power button.
        match power_down(handle.pid) {
            Ok(true) => Ok(()),
            Ok(false) => self.supervised.signal(handle, signal),
            Err(error) => {
                tracing::warn!(id = handle.id, %error, "the emulator's monitor does not answer, so its process is asked to end");
                self.supervised.signal(handle, signal)
            }
        }
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

    fn exec(&self, _: &TaskHandle, _: TaskCommand, _: [BorrowedFd<'_>; 3]) -> Result<Session, TaskError> {
        Err(TaskError::Failed("the qemu driver runs no commands inside its machines".to_owned()))
    }

    fn stats(&self, handle: &TaskHandle) -> Result<TaskUsage, TaskError> {
        self.supervised.stats(handle)
    }
}

/// Presses the machine's power button. False when it has no monitor.
fn power_down(pid: i32) -> std::io::Result<bool> {
    // The emulator's working directory is the task's: this path is short, however long that of the directory is.
    let socket = PathBuf::from(format!("/proc/{pid}/cwd/{MONITOR}"));
    let mut monitor = match UnixStream::connect(&socket) {
        Ok(monitor) => monitor,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    monitor.set_write_timeout(Some(MONITOR_MAX))?;
    let until = Instant::now() + MONITOR_MAX;
    // What is said before the prompt may be lost, and what is said last if nobody waits until it was done.
    await_prompt(&mut monitor, until)?;
    monitor.write_all(b"system_powerdown\n")?;
    await_prompt(&mut monitor, until)?;
    Ok(true)
}

/// Reads until the monitor asks for a command.
fn await_prompt(monitor: &mut UnixStream, until: Instant) -> std::io::Result<()> {
    let mut heard = Vec::new();
    while heard.len() < ANSWER_BYTES_MAX && !heard.ends_with(PROMPT) {
        let mut byte = [0];
        // Who says a byte now and then is not waited for either.
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        monitor.set_read_timeout(Some(left.ok_or(std::io::ErrorKind::TimedOut)?))?;
        monitor.read_exact(&mut byte)?;
        heard.extend_from_slice(&byte);
    }
    Ok(())
}

/// `7.2.22` from `QEMU emulator version 7.2.22 (Debian …)`.
fn version_in(words: &str) -> Option<String> {
    let mut words = words.split_whitespace().skip_while(|word| *word != "version").skip(1);
    let version = words.next()?.trim_end_matches(',');
    version.starts_with(|digit: char| digit.is_ascii_digit()).then(|| version.to_owned())
}

/// The emulator's name without what all begin with.
fn suffix(name: &str) -> &str {
    name.strip_prefix(EMULATOR).unwrap_or(name)
}

fn is_allowed(plugin: &QemuConfig, emulator: &str) -> bool {
    plugin.emulators_allowlist.is_empty() || plugin.emulators_allowlist.iter().any(|name| name == emulator)
}

/// `-x` and `--x` are one option.
fn plain_flag(flag: &str) -> &str {
    flag.strip_prefix('-').filter(|rest| rest.starts_with('-')).unwrap_or(flag)
}

/// A word that belongs to no option before it: the emulator would take it for the name of a disk image.
fn stray_word(args: &[String]) -> Option<&String> {
    let mut has_option = false;
    for arg in args {
        if arg.starts_with('-') {
            has_option = !VALUELESS.contains(&arg.trim_start_matches('-'));
        } else if !std::mem::take(&mut has_option) {
            return Some(arg);
        }
    }
    None
}

/// What the supervisor is asked to start.
fn spec(plugin: &QemuConfig, start: TaskStart) -> Result<TaskSpec, StartError> {
    let mut config = ConfigReader::new(&start.config);
    let image_path = config.required_text("image_path");
    let emulator = config.text("emulator");
    let machine_type = config.text("machine_type");
    let drive_interface = config.text("drive_interface");
    let accelerator = config.text("accelerator");
    let is_graceful = config.flag("graceful_shutdown").unwrap_or(false);
    let has_agent = config.flag("guest_agent").unwrap_or(false);
    let args = config.texts("args");
    let port_map = config.numbers("port_map");
    config.finish()?;

    let or = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
    let refused = |text: String| Err(StartError::Final(text));
    let drive_interface = or(drive_interface, "ide");
    if !INTERFACES.contains(&drive_interface.as_str()) {
        return refused("Unsupported drive_interface".to_owned());
    }
    let emulator = suffix(&or(emulator, "x86_64")).to_owned();
    if !is_allowed(plugin, &emulator) {
        return refused(format!("emulator {emulator:?} is not in the plugin's emulators_allowlist"));
    }
    if !plugin.args_allowlist.is_empty() {
        let is_listed = |arg: &str| plugin.args_allowlist.iter().any(|flag| flag == plain_flag(arg));
        if let Some(arg) = args.iter().find(|arg| arg.starts_with('-') && !is_listed(arg)) {
            return refused(format!("args: {arg:?} is not in the plugin's args_allowlist"));
        }
        if let Some(word) = stray_word(&args) {
            return refused(format!("args: {word:?} is no value of an option, and so an image of its own"));
        }
    }
    let memory_mib = start.resources.memory.mib;
    if !MEMORY_MIB.contains(&memory_mib) {
        return refused("QEMU memory assignment out of bounds".to_owned());
    }
    let name = format!("{EMULATOR}{emulator}");
    let is_name = emulator.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let Some(program) = tool::find(&name).filter(|_| is_name) else {
        return Err(StartError::Failed(format!(
            "failed to resolve path to {name:?} executable: exec: {name:?}: executable file not found in $PATH"
        )));
    };
    let task_dir = start.dirs.task_dir;
    let alloc_dir = task_dir.parent().unwrap_or(&task_dir).to_owned();
    let allowed: Vec<PathBuf> = std::iter::once(alloc_dir).chain(plugin.image_paths.iter().cloned()).collect();
    let image = qemu_image::resolve(Path::new(&image_path), &task_dir, &allowed).map_err(StartError::Final)?;
    let Some(image) = image.to_str() else { return refused("the path of the image is not text".to_owned()) };

    let accelerator = or(accelerator, "tcg");
    // With a comma they would be further options, which the operator allows or not.
    if !plugin.args_allowlist.is_empty()
        && let Some(word) = [&machine_type, &accelerator].into_iter().find(|word| word.contains(','))
    {
        return refused(format!("{word:?}: its options are not in the plugin's args_allowlist"));
    }
    let mut argv = vec![program.to_string_lossy().into_owned(), "-machine".to_owned()];
    argv.push(format!("type={}", or(machine_type, "pc")));
    argv.push("-accel".to_owned());
    argv.push(match accelerator.as_str() {
        "tcg" => format!("tcg,tb-size={TRANSLATED_MIB}"),
        other => other.to_owned(),
    });
    let file_name = Path::new(image).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut push = |words: &[&str]| argv.extend(words.iter().map(|word| (*word).to_owned()));
    push(&["-name", &escaped(&file_name), "-m", &format!("{memory_mib}M")]);
    push(&["-drive", &format!("file={},if={drive_interface},id=image0", escaped(image)), "-nographic"]);
    if is_graceful {
        push(&["-monitor", &format!("unix:{MONITOR},server=on,wait=off")]);
    }
    if has_agent {
        push(&["-chardev", &format!("socket,path={AGENT},server=on,wait=off,id=qga0"), "-device", "virtio-serial"]);
        push(&["-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0"]);
    }
    let cores = start.resources.cpu.reserved_cores.len();
    if accelerator == "kvm" && cores > 0 {
        push(&["-smp", &cores.to_string()]);
    }
    let forwards = forwards(&port_map, &start.ports);
    if !forwards.is_empty() {
        push(&["-netdev", &format!("user,id=user.0{forwards}"), "-device", "virtio-net,netdev=user.0"]);
    }
    argv.extend(args);

    let mut resources = resources_of(&start.resources);
    let room = |bytes: u64| bytes.saturating_add(OVERHEAD_MIB << 20);
    resources.memory_bytes = resources.memory_bytes.map(room);
    resources.memory_max_bytes = resources.memory_max_bytes.map(room);
    let (stdout, stderr) = logs_of(start.logs.as_ref());
    Ok(TaskSpec {
        id: start.id,
        argv,
        env: start.env,
        cwd: task_dir,
        user: Some(start.user).filter(|user| !user.is_empty()),
        stdout,
        stderr,
        resources,
        oom_score_adj: None,
        network_namespace: start.network_namespace,
        isolation: Isolation::None,
    })
}

/// A value inside an option of the emulator, where a comma ends it.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// Ports of the host that lead into the machine. A label that has no port adds nothing.
fn forwards(port_map: &std::collections::BTreeMap<String, i64>, ports: &[TaskPort]) -> String {
    let mut text = String::new();
    for (label, guest) in port_map {
        if let Some(port) = ports.iter().find(|port| port.label == *label) {
            for protocol in ["udp", "tcp"] {
                text.push_str(&format!(",hostfwd={protocol}::{}-:{guest}", port.value));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::TaskDirs;
    use serde_json::{Value, json};

    struct Bed {
        dir: tempfile::TempDir,
        plugin: QemuConfig,
    }

    impl Bed {
        fn new() -> Bed {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("t/local")).unwrap();
            std::fs::write(dir.path().join("t/local/d,1.img"), "x").unwrap();
            Bed { dir, plugin: QemuConfig::default() }
        }

        fn spec(&self, config: Value, memory_mib: i64) -> Result<TaskSpec, StartError> {
            let mut resources = drover_model::resources::AllocatedTask::default();
            resources.memory.mib = memory_mib;
            let task_dir = self.dir.path().join("t");
            let dirs = TaskDirs { alloc_dir: self.dir.path().join("alloc"), task_dir };
            let port = TaskPort { label: "ssh".to_owned(), value: 23022, ..TaskPort::default() };
            let config = serde_json::from_value(config).unwrap();
            spec(&self.plugin, TaskStart { config, dirs, resources, ports: vec![port], ..TaskStart::default() })
        }

        fn text(&self, config: Value) -> String {
            self.spec(config, 128).map(|_| ()).unwrap_err().to_string()
        }
    }

    fn has_emulator() -> bool {
        let has = tool::find("qemu-system-x86_64").is_some();
        if !has {
            println!("skipped: no qemu-system-x86_64");
        }
        has
    }

    #[test]
    fn a_config_becomes_a_command_line() {
        if !has_emulator() {
            return;
        }
        let bed = Bed::new();
        let config = json!({
            "image_path": "local/d,1.img", "graceful_shutdown": true, "port_map": [{"ssh": 22, "nope": 80}],
            "args": ["-snapshot"],
        });
        let spec = bed.spec(config, 256).unwrap();
        let image = bed.dir.path().join("t/local/d,,1.img");
        assert_eq!(
            spec.argv[1..].join(" "),
            format!(
                "-machine type=pc -accel tcg,tb-size=64 -name d,,1.img -m 256M -drive file={},if=ide,id=image0 -nographic \
                 -monitor unix:qm.sock,server=on,wait=off \
                 -netdev user,id=user.0,hostfwd=udp::23022-:22,hostfwd=tcp::23022-:22 -device virtio-net,netdev=user.0 -snapshot",
                image.display()
            )
        );
        assert_eq!(spec.resources.memory_bytes, Some((256 + OVERHEAD_MIB) << 20));
        assert_eq!(spec.cwd, bed.dir.path().join("t"));
    }

    #[test]
    fn a_config_that_cannot_work_is_refused_in_words() {
        if !has_emulator() {
            return;
        }
        let mut bed = Bed::new();
        let image = "local/d,1.img";
        assert_eq!(bed.text(json!({"image_path": "/etc/passwd"})), "image_path is not in the allowed paths");
        assert_eq!(bed.text(json!({"image_path": image, "drive_interface": "x"})), "Unsupported drive_interface");
        assert_eq!(
            bed.text(json!({"image_path": image, "emulator": "qemu-system-nope"})),
            "failed to resolve path to \"qemu-system-nope\" executable: exec: \"qemu-system-nope\": executable file not found in $PATH"
        );
        assert!(bed.text(json!({"image_path": image, "emulator": "../x"})).contains("not found in $PATH"));
        let bounds = "QEMU memory assignment out of bounds";
        assert_eq!(bed.spec(json!({"image_path": image}), 127).unwrap_err().to_string(), bounds);
        bed.plugin.args_allowlist = vec!["-snapshot".to_owned()];
        assert!(bed.spec(json!({"image_path": image, "args": ["--snapshot"]}), 128).is_ok());
        assert_eq!(
            bed.text(json!({"image_path": image, "args": ["-snapshot", "-drive", "file=/etc/shadow"]})),
            "args: \"-drive\" is not in the plugin's args_allowlist"
        );
        bed.plugin.args_allowlist.push("-device".to_owned());
        assert!(bed.spec(json!({"image_path": image, "args": ["-snapshot", "-device", "x"]}), 128).is_ok());
        for args in
            [json!(["/etc/shadow"]), json!(["-snapshot", "/etc/shadow"]), json!(["-device", "x", "/etc/shadow"])]
        {
            let text = bed.text(json!({"image_path": image, "args": args}));
            assert_eq!(text, "args: \"/etc/shadow\" is no value of an option, and so an image of its own");
        }
        for key in ["machine_type", "accelerator"] {
            let text = bed.text(json!({"image_path": image, key: "x,dumpdtb=/etc/x"}));
            assert_eq!(text, "\"x,dumpdtb=/etc/x\": its options are not in the plugin's args_allowlist");
        }
        bed.plugin.emulators_allowlist = vec!["arm".to_owned()];
        assert_eq!(
            bed.text(json!({"image_path": image})),
            "emulator \"x86_64\" is not in the plugin's emulators_allowlist"
        );
    }

    #[test]
    fn a_monitor_that_never_asks_is_not_waited_for() {
        let (mut ours, mut its) = UnixStream::pair().unwrap();
        its.write_all(&vec![b'x'; ANSWER_BYTES_MAX / 2]).unwrap();
        let asked = await_prompt(&mut ours, Instant::now() + Duration::from_millis(50));
        let kinds = [std::io::ErrorKind::TimedOut, std::io::ErrorKind::WouldBlock];
        assert!(kinds.contains(&asked.unwrap_err().kind()));
    }

    #[test]
    fn the_version_is_read() {
        let words = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003";
        assert_eq!(version_in(words).as_deref(), Some("7.2.22"));
        assert_eq!(version_in("QEMU"), None);
    }
}
