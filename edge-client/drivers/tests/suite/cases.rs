//! The cases, each for any driver.

use std::os::fd::AsFd;

use drover_drivers::{Recovered, TaskDevice, TaskHandle};

use crate::bed::{Bed, is_alive};
use crate::subject::{Deed, Subject};

/// How a case went.
pub enum Outcome {
    Passed,
    DoesNotApply(&'static str),
    NotHere(&'static str),
}
use Outcome::{DoesNotApply, Passed};

type Case = fn(&'static dyn Subject) -> Outcome;

pub const CASES: &[(&str, Case)] = &[
    ("it_is_fingerprinted", it_is_fingerprinted),
    ("a_driver_that_is_off_is_not_there", a_driver_that_is_off_is_not_there),
    ("a_task_starts_and_its_output_is_kept", a_task_starts_and_its_output_is_kept),
    ("an_exit_code_is_told", an_exit_code_is_told),
    ("a_bad_config_is_refused_in_words", a_bad_config_is_refused_in_words),
    ("a_task_ends_when_it_is_asked_to", a_task_ends_when_it_is_asked_to),
    ("a_task_that_ignores_it_is_killed", a_task_that_ignores_it_is_killed),
    ("a_task_starts_again_under_its_name", a_task_starts_again_under_its_name),
    ("want_of_memory_is_told_apart", want_of_memory_is_told_apart),
    ("a_command_runs_inside_the_task", a_command_runs_inside_the_task),
    ("what_it_uses_is_told", what_it_uses_is_told),
    ("a_task_outlives_the_agent", a_task_outlives_the_agent),
    ("a_task_outlives_agent_and_supervisor", a_task_outlives_agent_and_supervisor),
    ("the_host_is_out_of_reach", the_host_is_out_of_reach),
    ("a_task_uses_the_devices_that_it_was_given", a_task_uses_the_devices_that_it_was_given),
];

/// The task or the end of the case.
macro_rules! task {
    ($bed:expr, $name:expr, $deed:expr) => {
        match $bed.task($name, $deed) {
            Some(task) => task,
            None => return DoesNotApply("its tasks can't"),
        }
    };
}

/// Drivers that need root say so, and are not there without it.
pub fn undetected_without_root(subject: &'static dyn Subject) -> Result<(), String> {
    if rustix::process::geteuid().is_root() || !subject.needs_root() {
        return Ok(());
    }
    let found = Bed::new(subject).fingerprint();
    match (found.detected, found.healthy, found.description.as_str()) {
        (false, false, "Driver must run as root") => Ok(()),
        _ => Err(format!("{found:?}")),
    }
}

fn it_is_fingerprinted(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let found = bed.fingerprint();
    assert!(found.detected && found.healthy, "{found:?}");
    // Limits that its tasks don't get are named.
    let is_limited = found.description == "Healthy";
    assert_eq!(is_limited, bed.unenforced().keys().all(|limit| limit == "devices"), "{found:?}");
    assert!(is_limited || found.description.contains("without limits of "), "{found:?}");
    assert_eq!(found.attributes[&format!("driver.{}", subject.driver())], "true");
    Passed
}

fn a_driver_that_is_off_is_not_there(subject: &'static dyn Subject) -> Outcome {
    let mut bed = Bed::new(subject);
    assert_eq!(bed.turned_off(), ("on the client's denylist".to_owned(), false));
    Passed
}

fn a_task_starts_and_its_output_is_kept(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let exit = bed.run(task!(bed, "web", Deed::Hello));
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (0, 0, false), "{exit:?}");
    assert!(bed.log("web", "stdout").contains("hello"), "{}", bed.log("web", "stdout"));
    if subject.has_exec() {
        assert_eq!(bed.log("web", "stderr"), "aside\n");
    }
    Passed
}

fn an_exit_code_is_told(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let exit = bed.run(task!(bed, "web", Deed::EndWith(7)));
    assert_eq!((exit.exit_code, exit.signal), (subject.exit_code(7), 0), "{exit:?}");
    assert!(!exit.is_success());
    Passed
}

fn a_bad_config_is_refused_in_words(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let mut task = task!(bed, "web", Deed::Hello);
    task.config.insert("bogus".to_owned(), 1.into());
    let error = bed.start(task).unwrap_err().to_string();
    assert!(error.contains("No argument or block type is named \"bogus\""), "{error}");
    assert!(matches!(bed.driver().recover(&handle("alloc-1.web")), Ok(Recovered::Unknown)));
    Passed
}

fn handle(id: &str) -> TaskHandle {
    TaskHandle { id: id.to_owned(), ..TaskHandle::default() }
}

fn a_task_ends_when_it_is_asked_to(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let handle = bed.start_ready(task!(bed, "web", Deed::Wait));
    bed.driver().signal(&handle, subject.stop_signal()).unwrap();
    let exit = bed.exit(&handle);
    assert_eq!((exit.exit_code, exit.signal), (0, 0), "{exit:?}");
    assert!(bed.log("web", "stdout").contains("bye"), "{}", bed.log("web", "stdout"));
    Passed
}

fn a_task_that_ignores_it_is_killed(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let handle = bed.start_ready(task!(bed, "web", Deed::Ignore));
    bed.driver().signal(&handle, subject.stop_signal()).unwrap();
    assert!(is_alive(handle.pid));
    bed.driver().kill(&handle).unwrap();
    let exit = bed.exit(&handle);
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (137, 9, false), "{exit:?}");
    assert!(!is_alive(handle.pid));
    Passed
}

fn a_task_starts_again_under_its_name(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    for _ in 0..2 {
        let exit = bed.run(task!(bed, "web", Deed::Hello));
        assert!(exit.is_success(), "{exit:?}");
    }
    assert_eq!(bed.log("web", "stdout").matches("hello").count(), 2, "{}", bed.log("web", "stdout"));
    Passed
}

fn want_of_memory_is_told_apart(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let mut task = task!(bed, "hog", Deed::Hog);
    task.resources.memory.mib = 24;
    let handle = bed.start(task).unwrap();
    if !handle.limits_reason.is_empty() {
        bed.driver().kill(&handle).unwrap();
        return DoesNotApply("no limits are enforced for this user");
    }
    let exit = bed.exit(&handle);
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (137, 0, true), "{exit:?}");
    Passed
}

fn a_command_runs_inside_the_task(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let handle = bed.start_ready(task!(bed, "web", Deed::Ignore));
    let mut command = drover_drivers::TaskCommand {
        argv: ["/bin/sh", "-c", "echo inside; test -d $NOMAD_TASK_DIR && echo seen; exit 6"]
            .map(str::to_owned)
            .to_vec(),
        task_dir: bed.path("alloc-1/web"),
        ..Default::default()
    };
    let seen = if subject.is_isolated() { "/local".into() } else { bed.path("alloc-1/web/local") };
    command.env.insert("NOMAD_TASK_DIR".to_owned(), seen.display().to_string());
    command.env.insert("PATH".to_owned(), "/usr/bin:/bin".to_owned());
    let null = std::fs::File::open("/dev/null").unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let session = bed.driver().exec(&handle, command, [null.as_fd(), write.as_fd(), write.as_fd()]);
    drop(write);
    if !subject.has_exec() {
        assert!(session.is_err());
        bed.driver().kill(&handle).unwrap();
        return DoesNotApply("no commands inside, and it says so");
    }
    let mut session = session.unwrap();
    let mut output = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(read), &mut output).unwrap();
    assert_eq!(output, "inside\nseen\n");
    assert_eq!(session.wait().unwrap(), (6, 0));
    bed.driver().kill(&handle).unwrap();
    Passed
}

fn what_it_uses_is_told(subject: &'static dyn Subject) -> Outcome {
    let bed = Bed::new(subject);
    let handle = bed.start_ready(task!(bed, "web", Deed::Count));
    bed.until("it has used something", || {
        let usage = bed.driver().stats(&handle).unwrap();
        (usage.cpu_total_ns > 0 && usage.memory_usage_bytes > 0).then_some(())
    });
    bed.driver().kill(&handle).unwrap();
    bed.exit(&handle);
    Passed
}

/// `line 0`, `line 1` and so on, none missing and none twice, as far as `from`.
fn lines_are_whole(log: &str) -> usize {
    let numbers: Vec<usize> =
        log.lines().filter_map(|line| line.trim_end().strip_prefix("line ")?.parse().ok()).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>());
    numbers.len()
}

fn a_task_outlives_the_agent(subject: &'static dyn Subject) -> Outcome {
    let mut bed = Bed::new(subject);
    let started = bed.start_ready(task!(bed, "web", Deed::Count));
    let ends_meanwhile = task!(bed, "short", Deed::EndWith(3));
    let short = bed.start(ends_meanwhile).unwrap();
    bed.lose_agent();
    bed.until("it goes on without an agent", || (lines_are_whole(&bed.log("web", "stdout")) > 20).then_some(()));
    bed.come_back();
    let Ok(Recovered::Running(known)) = bed.driver().recover(&handle(&started.id)) else { panic!("not found") };
    assert_eq!((known.pid, known.start_ticks), (started.pid, started.start_ticks));
    let before = lines_are_whole(&bed.log("web", "stdout"));
    bed.until("its log goes on", || (lines_are_whole(&bed.log("web", "stdout")) > before).then_some(()));
    let end = bed.exit(&short);
    assert_eq!(end.exit_code, subject.exit_code(3), "{end:?}");
    bed.driver().kill(&known).unwrap();
    assert_eq!(bed.exit(&known).signal, 9);
    bed.driver().destroy(&known).unwrap();
    Passed
}

fn a_task_outlives_agent_and_supervisor(subject: &'static dyn Subject) -> Outcome {
    let mut bed = Bed::new(subject);
    let started = bed.start_ready(task!(bed, "web", Deed::Count));
    let supervisor = rustix::process::Pid::from_raw(bed.supervisor_pid()).unwrap();
    bed.lose_agent();
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    bed.come_back();
    let Ok(Recovered::Running(known)) = bed.driver().recover(&handle(&started.id)) else { panic!("not found") };
    assert_eq!(known.pid, started.pid);
    let before = lines_are_whole(&bed.log("web", "stdout"));
    bed.until("its log goes on", || (lines_are_whole(&bed.log("web", "stdout")) > before).then_some(()));
    bed.driver().kill(&known).unwrap();
    bed.exit(&known);
    Passed
}

fn the_host_is_out_of_reach(subject: &'static dyn Subject) -> Outcome {
    if !subject.is_isolated() {
        return DoesNotApply("it shows its tasks the host");
    }
    let bed = Bed::new(subject);
    let secret = bed.path("alloc-1/other/secrets/key");
    std::fs::create_dir_all(secret.parent().unwrap()).unwrap();
    std::fs::write(&secret, "of another task").unwrap();
    let mut task = task!(bed, "probe", Deed::Probe);
    crate::bed::probe_env(&bed.path(""), &mut task);
    bed.run(task);
    let log = bed.log("probe", "stdout");
    assert_eq!(log, "probed\n", "{}", bed.log("probe", "stderr"));
    Passed
}

fn a_task_uses_the_devices_that_it_was_given(subject: &'static dyn Subject) -> Outcome {
    if !subject.is_isolated() || !subject.has_exec() {
        return DoesNotApply("its tasks see the host's devices, or none");
    }
    // None of those that every task has.
    let known = ["/dev/fuse", "/dev/loop-control", "/dev/kmsg"];
    let Some(device) = known.into_iter().find(|path| std::fs::File::open(path).is_ok()) else {
        return Outcome::NotHere("no device to try it with");
    };
    let bed = Bed::new(subject);
    let script = format!(
        "test -e {device} || exit 3; ( : <{device} ) 2>/dev/null && echo read; ( : >{device} ) 2>/dev/null && echo write; exit 0"
    );
    let check = |name: &str, access: Option<&str>, expected: (i64, &str)| {
        let mut task = bed.task(name, Deed::Hello).unwrap();
        task.config.insert("args".to_owned(), serde_json::json!(["-c", script]));
        task.devices =
            access.map(|access| TaskDevice { path: device.into(), access: access.to_owned() }).into_iter().collect();
        let code = bed.run(task).exit_code;
        assert_eq!((code, &*bed.log(name, "stdout")), expected, "{device}: {}", bed.log(name, "stderr"));
    };
    check("none", None, (3, ""));
    check("whole", Some("rw"), (0, "read\nwrite\n"));
    check("reader", Some("r"), (0, "read\n"));
    Passed
}
