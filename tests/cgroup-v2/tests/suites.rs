//! The suites of the supervisor and of the drivers on pure cgroup v2: as root, as a plain user, and as one to whom a part of the tree
//! was handed over.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use drover_cgroup_v2::parts::{Parts, stripped};
use drover_cgroup_v2::{guest, machine};

/// The longest a run may take: several times what it takes on two busy cores.
const DEADLINE: Duration = Duration::from_secs(400);
/// The suites as cargo built them for this test.
const SUPERVISOR: &str = env!("CARGO_BIN_EXE_supervisor-suite");
const DRIVERS: &str = env!("CARGO_BIN_EXE_drivers-suite");

/// What is tried of the driver `container`: an emulated processor takes its time for an image. All of it with [`LONG`].
const CONTAINER: [&str; 6] = [
    "container::it_is",
    "container::a_task_starts_and",
    "container::want_of_memory",
    "container::a_command_runs",
    "container::a_task_outlives_agent_and",
    "container::the_host_is",
];
/// Is set for the long form.
const LONG: &str = "DROVER_SUITES_LONG";

/// Names the cases to run, where not all are wanted.
const ONLY: &str = "DROVER_CASES";

/// Each suite says as whom it runs.
const PLAIN: &str = "as uid 1000:";
const GIVEN: &str = "as uid 1000 with cgroups of its own:";

/// Cases of the supervisor's that show limits being enforced; root has the first ones, whoever has cgroups all others.
const LIMITS_OF_ROOT: [&str; 2] = ["a_contained_task_is_limited", "a_task_has_cores_of_its_own"];
const LIMITS: [&str; 3] =
    ["memory_limit_is_enforced_and_told", "stats_come_from_the_cgroup", "limits_that_can_not_be_had_are_named"];

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
    plain: Vec<&'a str>,
    given: Vec<&'a str>,
}

impl<'a> Suite<'a> {
    fn of(console: &'a [String], name: &str) -> Self {
        let lines = console.iter().map(String::as_str).skip_while(|line| *line != format!("guest: {name}"));
        let lines: Vec<&str> = lines.skip(1).take_while(|line| !line.starts_with("guest: ")).collect();
        let (root, rest) = halves(&lines, PLAIN);
        let (plain, given) = halves(&rest, GIVEN);
        Self { root, plain, given }
    }

    fn passed(&self) -> [usize; 3] {
        let is_ok = |line: &&&str| line.starts_with("test ") && line.ends_with(" ... ok");
        [&self.root, &self.plain, &self.given].map(|lines| lines.iter().filter(is_ok).count())
    }
}

fn halves<'a>(lines: &[&'a str], at: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let place = lines.iter().position(|line| *line == at).unwrap_or(lines.len());
    (lines[..place].to_vec(), lines.iter().skip(place + 1).copied().collect())
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
    // For people: only the cases whose names contain one of these words, and whatever they say.
    let only = std::env::var(ONLY).ok();
    let (of_supervisor, of_drivers) = match &only {
        Some(words) => (words.clone(), words.clone()),
        None => (String::new(), drivers.join(" ")),
    };
    let script = format!(
        "at() {{ echo \"guest: $1\"; echo \"at $(cut -d' ' -f1 /proc/uptime) s\"; }}\n\
         at supervisor; /bin/supervisor-suite {of_supervisor} || code=1\n\
         at drivers; DROVER_SUITE_IMAGE=/image.tar /bin/drivers-suite {of_drivers} || code=1\n\
         at 'nothing more'; exit ${{code:-0}}\n",
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
    let supervisor = Suite::of(&run.console, "supervisor");
    let of_drivers = Suite::of(&run.console, "drivers");
    assert!(supervisor.root.contains(&"cgroups: v2"), "{console}");
    assert!(supervisor.plain.contains(&"cgroups: none"), "{console}");
    assert!(supervisor.given.contains(&"cgroups: v2"), "{console}");
    for lines in [&supervisor.root, &of_drivers.root] {
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
    let hog = "test raw_exec::want_of_memory_is_told_apart ... ";
    let told = |lines: &[&str]| lines.iter().find_map(|line| line.strip_prefix(hog)).map(str::to_owned);
    assert_eq!(told(&of_drivers.root).as_deref(), Some("ok"), "{console}");
    assert_eq!(told(&of_drivers.plain).as_deref(), Some("does not apply: no limits are enforced for this user"));
    assert_eq!(told(&of_drivers.given).as_deref(), Some("ok"), "{console}");
    // The suites hear of a kill for want of memory, the kernel knows of which: of the task's, not of the whole machine's.
    let kills: Vec<&str> = run.console.iter().filter_map(|line| line.strip_prefix(guest::KERNEL)).collect();
    assert!(kills.len() >= 4, "one in each of the cases with a hog:\n{console}");
    for kill in kills {
        assert!(kill.contains("Memory cgroup out of memory"), "{kill}");
    }
    say(&format!(
        "passed as root, as a plain user and as one with cgroups of its own: {:?} cases of the supervisor's suite, {:?} of \
         the drivers', in a machine with {}, {:.0} s with its start",
        supervisor.passed(),
        of_drivers.passed(),
        parts.kernel.file_name().unwrap_or_default().display(),
        run.took.as_secs_f64()
    ));
}

/// An image in a file, which the suite makes with tools that the guest has not.
fn image() -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = dir.path().join("image.tar");
    let made = Command::new(DRIVERS).arg("--save-image").arg(&file).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&made.stderr);
    std::fs::read(&file).map_err(|error| format!("no image: {error}: {}", said.lines().last().unwrap_or_default()))
}
