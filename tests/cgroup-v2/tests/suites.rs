//! The suites of the supervisor and of the drivers on pure cgroup v2: as root, and as a user to whom a part of the tree was handed
//! over. In the long form whole lives of allocs too, and their networks, as the runner's tests have them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use drover_cgroup_v2::parts::{Parts, stripped};
use drover_cgroup_v2::{emulator, guest, machine};

/// The longest a run may take: many times what it takes on two cores.
const DEADLINE: Duration = Duration::from_secs(840);
/// When what was said so far is shown, because the machine ends before the suites do.
const LAST_WORDS: Duration = Duration::from_secs(780);
/// The suites as cargo built them for this test.
const SUPERVISOR: &str = env!("CARGO_BIN_EXE_supervisor-suite");
const DRIVERS: &str = env!("CARGO_BIN_EXE_drivers-suite");

/// What is tried of the driver `container`: an emulated processor takes its time for an image. All of it with [`LONG`].
const CONTAINER: [&str; 7] = [
    "container::it_is",
    "container::a_task_starts_and",
    "container::want_of_memory",
    "container::a_command_runs",
    "container::a_task_outlives_agent_and",
    "container::the_host_is",
    "container::a_task_uses",
];
/// What is tried of the driver `qemu` in the long form: machines whose disk holds all they do, for one emulator inside of another is no
/// match for a kernel.
const QEMU: [&str; 4] =
    ["qemu::it_is", "qemu::a_driver_that_is_off", "qemu::an_exit_code", "qemu::a_task_ends_when_it_is_asked"];
/// What a user with cgroups of its own tries of the supervisor's suite, all of it in the long form.
const OF_USER: [&str; 9] = [
    "limit",
    "stats",
    "nobody_knows",
    "second_supervisor",
    "leaves_behind",
    "grandchildren",
    "outlive_agent",
    "beside_a_task",
    "broken_program",
];
/// Modules of the kernel that networks of allocs need, each after those that it needs itself. What is part of the kernel is no module.
const NETWORK: [&str; 19] = [
    "llc",
    "stp",
    "bridge",
    "veth",
    "crc32c_generic",
    "libcrc32c",
    "nfnetlink",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_nat",
    "nf_tables",
    "nft_ct",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_fib",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
];
/// Is set for the long form.
const LONG: &str = "DROVER_SUITES_LONG";

/// Names the cases to run, where not all are wanted.
const ONLY: &str = "DROVER_CASES";

/// Cases of the supervisor's that show limits being enforced; root has the first ones, whoever has cgroups all others.
const LIMITS_OF_ROOT: [&str; 2] = ["a_contained_task_is_limited", "a_task_has_cores_of_its_own"];
const LIMITS: [&str; 3] =
    ["memory_limit_is_enforced_and_told", "stats_come_from_the_cgroup", "limits_that_can_not_be_had_are_named"];

/// What lines begin with that tell how long the parts took.
const TIME: &str = "time: ";

/// Heard also when the test passes: the harness keeps what is printed, not what is written.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "cgroup v2: {text}");
}

/// What is skipped by root: the guest has no disk and nothing to make a file system with, no registry, and no machine inside it.
fn may_be_skipped(line: &str) -> bool {
    line.starts_with("test a_stalled_disk_delays_only_logs: ")
        || line.starts_with("test qemu::")
        || line.starts_with("test container::an_image_that_is_not_there_is_told_in_one_sentence ")
}

/// The lines of one suite, by whom it was run as.
struct Suite<'a> {
    root: Vec<&'a str>,
    given: Vec<&'a str>,
}

impl<'a> Suite<'a> {
    fn of(console: &'a [String], name: &str) -> Self {
        let part = |title: String| -> Vec<&'a str> {
            let lines = console.iter().map(String::as_str).skip_while(move |line| *line != title).skip(1);
            lines.take_while(|line| !line.starts_with("guest: ")).collect()
        };
        Self { root: part(format!("guest: {name}")), given: part(format!("guest: {name} for a user")) }
    }

    fn passed(&self) -> [usize; 2] {
        let is_ok = |line: &&&str| line.starts_with("test ") && line.ends_with(" ... ok");
        [&self.root, &self.given].map(|lines| lines.iter().filter(is_ok).count())
    }
}

#[test]
fn the_suites_pass() {
    let target = Path::new(SUPERVISOR).ancestors().nth(2).expect("binaries are in <target>/<profile>");
    let parts = match Parts::find(target) {
        Ok(parts) => parts,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let mut guest = parts.guest().unwrap();
    guest.file("bin/supervisor-suite", 0o755, stripped(Path::new(SUPERVISOR)).unwrap());
    guest.file("bin/drivers-suite", 0o755, stripped(Path::new(DRIVERS)).unwrap());
    let is_long = std::env::var_os(LONG).is_some();
    let mut drivers = vec!["raw_exec::", "exec::"];
    match image().and_then(|image| Ok((image, parts.module("overlay")?))) {
        Ok((image, overlay)) => {
            guest.file("image.tar", 0o644, image);
            guest.module("overlay", overlay);
            drivers.extend(CONTAINER.iter().filter(|_| !is_long));
            drivers.extend(is_long.then_some("container::"));
        }
        Err(reason) => say(&format!("skipped: the driver container ({reason})")),
    }
    if is_long {
        match emulator::put(&parts, &mut guest) {
            Ok(()) => drivers.extend(QEMU),
            Err(reason) => say(&format!("skipped: the driver qemu ({reason})")),
        }
    }
    // For people: only the cases whose names contain one of these words, and whatever they say.
    let only = std::env::var(ONLY).ok();
    let drivers = only.clone().unwrap_or_else(|| drivers.join(" "));
    let words = only.clone().unwrap_or_default();
    let mut lives = "";
    if is_long && only.is_none() {
        guest.file("bin/alloc-life", 0o755, stripped(&built_test("drover-runner", "alloc_life").unwrap()).unwrap());
        guest.file(
            "bin/alloc-network",
            0o755,
            stripped(&built_test("drover-runner", "alloc_network").unwrap()).unwrap(),
        );
        for (name, module) in NETWORK.iter().filter_map(|name| Some((name, parts.module(name).ok()?))) {
            guest.module(name, module);
        }
        lives = "begins lives; /bin/alloc-life 2>&1 || echo 1 >/run/code\n\
                 begins networks; /bin/alloc-network 2>&1 || echo 1 >/run/code; begins 'nothing more'\n";
    }
    // Without cgroups a plain user is the same in a machine as outside of it, so that run is left out.
    // The suites run at once: most of their time they wait. What they say is shown one after the other.
    let script = format!(
        "begins() {{ echo \"guest: $1\"; }}\n\
         ended() {{ echo \"$1 ended at $(cut -d. -f1 /proc/uptime) s\" >>/run/times; }}\n\
         shows() {{ begins \"supervisor$1\"; cat /run/supervisor; begins \"drivers$1\"; cat /run/drivers; begins 'nothing more'; }}\n\
         both() {{\n\
             (/bin/supervisor-suite $1 >/run/supervisor 2>&1 || echo 1 >/run/code; ended \"supervisor$3\") &\n\
             first=$!\n\
             /bin/drivers-suite $2 >/run/drivers 2>&1 || echo 1 >/run/code\n\
             ended \"drivers$3\"; wait $first; shows \"$3\"\n\
         }}\n\
         ended start\n\
         echo 0 >/proc/sys/kernel/dmesg_restrict # One case reads a device that this closes.\n\
         (sleep {}; shows ' so far') &\n\
         export DROVER_SUITE_IMAGE=/image.tar DROVER_SUITE_RUNS=none DROVER_SUITE_KERNEL={}\n\
         both '{words}' '{drivers}' ''\n\
         export DROVER_SUITE_RUNS=only\n\
         both '{}' raw_exec:: ' for a user'\n\
         {lives}\
         sed 's/^/{TIME}/' /run/times; exit $(cat /run/code 2>/dev/null || echo 0)\n",
        LAST_WORDS.as_secs(),
        emulator::KERNEL,
        if only.is_some() || is_long { words.clone() } else { OF_USER.join(" ") },
    );
    let run = machine::boot(&parts, &guest, &script, DEADLINE).unwrap();

    let console = run.console.join("\n");
    if only.is_some() {
        say(&format!("after {:?}:\n{console}", run.took));
    }
    assert_eq!(run.end.as_deref(), Some("0"), "after {:?}; the console:\n{console}", run.took);
    if only.is_some() {
        return;
    }
    let [supervisor, drivers] = ["supervisor", "drivers"].map(|name| Suite::of(&run.console, name));
    assert!(supervisor.root.contains(&"cgroups: v2") && supervisor.given.contains(&"cgroups: v2"), "{console}");
    for lines in [&supervisor.root, &drivers.root] {
        let skipped = lines.iter().find(|line| line.contains("skipped:") && !may_be_skipped(line));
        assert_eq!(skipped, None, "{console}");
    }
    for case in LIMITS_OF_ROOT.iter().chain(&LIMITS) {
        assert!(supervisor.root.contains(&format!("test {case} ... ok").as_str()), "{case} did not run:\n{console}");
    }
    for case in LIMITS {
        let skipped = format!("test {case}: skipped: needs cgroups");
        assert!(supervisor.given.contains(&format!("test {case} ... ok").as_str()), "{case}:\n{console}");
        assert!(!supervisor.given.contains(&skipped.as_str()), "{case}:\n{console}");
    }
    for lines in [&drivers.root, &drivers.given] {
        assert!(lines.contains(&"test raw_exec::want_of_memory_is_told_apart ... ok"), "{console}");
    }
    // The suites hear of a kill for want of memory, the kernel knows of which: of the task's, not of the whole machine's.
    let kills: Vec<&str> = run.console.iter().filter_map(|line| line.strip_prefix(guest::KERNEL)).collect();
    assert!(kills.len() >= 4, "one in each of the cases with a hog:\n{console}");
    for kill in kills {
        assert!(kill.contains("Memory cgroup out of memory"), "{kill}");
    }
    let times: Vec<&str> = run.console.iter().filter_map(|line| line.strip_prefix(TIME)).collect();
    say(&times.join(", "));
    if is_long {
        let case = "test qemu::an_exit_code_is_told ... ok";
        assert!(drivers.root.contains(&case) || emulator::put(&parts, &mut guest).is_err(), "{console}");
    }
    if !lives.is_empty() {
        let lines = Suite::of(&run.console, "lives").root;
        assert!(lines.contains(&"test an_exec_task_sees_its_own_root ... ok"), "{console}");
        let lines = Suite::of(&run.console, "networks").root;
        assert!(lines.contains(&"test tasks_of_a_group_share_its_network ... ok"), "{console}");
    }
    say(&format!(
        "passed as root and as a user with cgroups of its own: {:?} cases of the supervisor's suite, {:?} of the drivers', in a machine with {}, {:.0} s with its start",
        supervisor.passed(),
        drivers.passed(),
        parts.kernel.file_name().unwrap_or_default().display(),
        run.took.as_secs_f64()
    ));
}

/// A test of another crate, built now: only the long form has use for it.
fn built_test(package: &str, test: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").ok_or("cargo does not say where it is")?;
    let words = ["test", "--package", package, "--test", test, "--no-run", "--message-format", "json"];
    let built = Command::new(cargo).args(words).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&built.stdout);
    let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut named = messages.filter(|message| message["target"]["name"] == test);
    let program = named.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.ok_or_else(|| format!("{test} was not built: {}", String::from_utf8_lossy(&built.stderr)))
}

/// An image in a file, which the suite makes with tools that the guest has not.
fn image() -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = dir.path().join("image.tar");
    let made = Command::new(DRIVERS).arg("--save-image").arg(&file).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&made.stderr);
    std::fs::read(&file).map_err(|error| format!("no image: {error}: {}", said.lines().last().unwrap_or_default()))
}
