//! The supervisor's whole suite, as root, on pure cgroup v2.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use drover_cgroup_v2::parts::Parts;
use drover_cgroup_v2::{guest, machine};

/// The one case that the guest can't run: it has no disk, and nothing to make a file system with.
const NEEDS_A_DISK: &str = "test a_stalled_disk_delays_only_logs: ";
/// The longest a run may take: several times what it takes on two busy cores.
const DEADLINE: Duration = Duration::from_secs(180);
/// The suite as cargo built it for this test.
const SUITE: &str = env!("CARGO_BIN_EXE_supervisor-suite");
/// Cases that show limits being enforced. All cases must pass; these must be among them, under these names.
const LIMITS: [&str; 3] =
    ["memory_limit_is_enforced_and_told", "a_contained_task_is_limited", "stats_come_from_the_cgroup"];

/// Heard also when the test passes: the harness keeps what is printed, not what is written.
fn say(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "cgroup v2: {text}");
}

#[test]
fn the_supervisors_suite_passes() {
    let target = Path::new(SUITE).ancestors().nth(2).expect("binaries are in <target>/<profile>");
    let parts = match Parts::find(&target.join("guest-kernel")) {
        Ok(parts) => parts,
        Err(reason) => return say(&format!("skipped: {reason}")),
    };
    let dir = tempfile::tempdir().unwrap();
    let initramfs = dir.path().join("initramfs");
    let file = std::io::BufWriter::new(std::fs::File::create(&initramfs).unwrap());
    let read = |file: &Path| std::fs::read(file).unwrap();
    guest::write(file, &read(&parts.busybox), &read(Path::new(SUITE)), &[], DEADLINE).unwrap();

    let run = machine::run(&parts, &initramfs, guest::END, DEADLINE).unwrap();
    let console = run.console.join("\n");
    assert_eq!(run.end.as_deref(), Some("0"), "after {:?}; the console:\n{console}", run.took);
    let has = |line: &str| run.console.iter().any(|other| other == line);
    assert!(has("cgroups: v2"), "{console}");
    let skipped: Vec<&String> = run.console.iter().filter(|line| line.contains("skipped:")).collect();
    assert!(skipped.iter().all(|line| line.starts_with(NEEDS_A_DISK)), "{console}");
    for case in LIMITS {
        assert!(has(&format!("test {case} ... ok")), "{case} did not run:\n{console}");
    }
    // The suite hears of a kill for want of memory, the kernel knows of which: of the task's, not of the whole machine's.
    let kills: Vec<&str> = run.console.iter().filter_map(|line| line.strip_prefix(guest::KERNEL)).collect();
    assert!(kills.len() >= 2, "one in each of the two cases with a hog:\n{console}");
    for kill in kills {
        assert!(kill.contains("Memory cgroup out of memory"), "{kill}");
    }
    let passed = run.console.iter().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok"));
    say(&format!(
        "{} cases of the supervisor's suite passed in a machine with {}, {:.0} s with its start",
        passed.count(),
        parts.kernel.file_name().unwrap_or_default().display(),
        run.took.as_secs_f64()
    ));
}
