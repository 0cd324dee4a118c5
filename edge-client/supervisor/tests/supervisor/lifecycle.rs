//! Starting, ending, reconnecting.

use std::time::Duration;

use drover_supervisor::{Client, ClientError, Refusal, TaskState};

use crate::Case;
use crate::support::{Bed, cgroup_version, has_cgroups_or_skip, is_alive, is_root_or_skip, until};

pub const CASES: &[Case] = &[
    ("exit_codes_and_signals", exit_codes_and_signals),
    ("environment_directory_and_user", environment_directory_and_user),
    ("a_bad_start_says_why_and_leaves_nothing", a_bad_start_says_why_and_leaves_nothing),
    ("signals_reach_the_task", signals_reach_the_task),
    ("kill_all_ends_grandchildren", kill_all_ends_grandchildren),
    ("what_a_task_leaves_behind_is_ended", what_a_task_leaves_behind_is_ended),
    ("tasks_outlive_the_agent", tasks_outlive_the_agent),
    ("events_are_told_at_least_once", events_are_told_at_least_once),
    ("memory_limit_is_enforced_and_told", memory_limit_is_enforced_and_told),
    ("stats_come_from_the_cgroup", stats_come_from_the_cgroup),
    ("stats_without_a_cgroup_come_from_the_processes", stats_without_a_cgroup_come_from_the_processes),
    ("processor_time_without_a_cgroup_never_goes_down", processor_time_without_a_cgroup_never_goes_down),
    ("limits_that_can_not_be_had_are_named", limits_that_can_not_be_had_are_named),
    ("linger_ends_all_and_leaves_nothing", linger_ends_all_and_leaves_nothing),
    ("shutdown_without_ending_tasks_refuses", shutdown_without_ending_tasks_refuses),
    ("a_shutdown_is_answered_in_any_bustle", a_shutdown_is_answered_in_any_bustle),
    ("a_new_supervisor_ends_what_nobody_knows", a_new_supervisor_ends_what_nobody_knows),
    ("a_second_supervisor_of_a_node_is_refused", a_second_supervisor_of_a_node_is_refused),
    ("long_socket_paths_and_rights", long_socket_paths_and_rights),
    ("foreign_bytes_do_not_disturb", foreign_bytes_do_not_disturb),
    ("many_threads_may_ask_at_once", many_threads_may_ask_at_once),
];

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Refusal {
    match result {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn exit_codes_and_signals() {
    let bed = Bed::new();
    let check = |id: &str, script: &str, code: i32, signal: i32| {
        let exit = bed.run(bed.script(id, script));
        assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (code, signal, false), "{script}");
    };
    check("zero", "exit 0", 0, 0);
    check("seven", "exit 7", 7, 0);
    check("term", "kill -TERM $$", 143, 15);
    check("kill", "kill -KILL $$", 137, 9);
    assert_eq!(bed.client().list().unwrap().len(), 4);
    for id in ["zero", "seven", "term", "kill"] {
        bed.client().remove(id).unwrap();
    }
    assert_eq!(bed.client().list().unwrap(), vec![]);
    assert_eq!(refusal(bed.client().remove("zero")), Refusal::UnknownTask);
}

fn environment_directory_and_user() {
    let bed = Bed::new();
    let mut spec = bed.script("env", "echo $GREETING; pwd; env | grep -c .; umask; cat /proc/self/oom_score_adj; ulimit -n; grep SigBlk /proc/self/status; ls /proc/self/fd | wc -l");
    spec.env.insert("GREETING".to_owned(), "hello world".to_owned());
    spec.cwd = "/usr".into();
    bed.run(spec);
    let log = bed.log("env.stdout.0");
    let lines: Vec<&str> = log.lines().collect();
    // The shell adds PWD, and some add one or two more of their own.
    assert_eq!((lines[0], lines[1]), ("hello world", "/usr"), "{log}");
    assert!(lines[2].parse::<u32>().unwrap() <= 6, "{log}");
    assert_eq!(lines[3], "0022", "{log}");
    let own_score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let own_score: i32 = own_score.trim().parse().unwrap();
    assert_eq!(lines[4], own_score.max(0).to_string(), "{log}");
    assert_eq!(
        lines[5],
        rustix::process::getrlimit(rustix::process::Resource::Nofile)
            .current
            .map_or("unlimited".to_owned(), |n| n.to_string())
    );
    assert!(lines[6].ends_with("0000000000000000"), "{log}");
    assert_eq!(lines[7], "4", "0, 1, 2 and the listing itself: {log}");

    if is_root_or_skip("environment_directory_and_user (user)") {
        let mut spec = bed.script("user", "id -u; echo $HOME $USER $LOGNAME; cat /proc/self/cgroup | grep -c drover");
        spec.user = Some("nobody".to_owned());
        spec.cwd = "/".into();
        bed.run(spec);
        let log = bed.log("user.stdout.0");
        assert!(log.starts_with("65534\n/nonexistent nobody nobody\n"), "{log}");
        assert_ne!(log.lines().nth(2), Some("0"), "{log}");
        let mut spec = bed.script("whoami", "true");
        spec.user = Some("no-such-user".to_owned());
        let text = refusal(bed.client().start_task(spec)).to_string();
        assert_eq!(text, "user: unknown user no-such-user");
    }
}

fn a_bad_start_says_why_and_leaves_nothing() {
    let bed = Bed::new();
    let check = |argv: &[&str], cwd: &str, expected: &str| {
        let mut spec = bed.script("bad", "");
        spec.argv = argv.iter().map(|arg| (*arg).to_owned()).collect();
        spec.cwd = cwd.into();
        assert_eq!(refusal(bed.client().start_task(spec)).to_string(), expected);
        assert_eq!(bed.client().list().unwrap(), vec![]);
    };
    check(&["/nope"], "/", "fork/exec /nope: no such file or directory");
    check(&["/etc/passwd"], "/", "fork/exec /etc/passwd: permission denied");
    check(&["no-such-command"], "/", "exec: \"no-such-command\": executable file not found in $PATH");
    check(&["/bin/true"], "/nope", "fork/exec /bin/true: no such file or directory");
    check(&["/bin/true"], "nope", "invalid request: working directory nope must be an absolute path without \"..\"");
    check(&[], "/", "invalid request: command is empty");
    let mut spec = bed.script("bad", "true");
    spec.argv = vec!["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()];
    assert_eq!(bed.run(spec.clone()).exit_code, 3);
    assert_eq!(refusal(bed.client().start_task(spec)), Refusal::TaskExists);
}

fn signals_reach_the_task() {
    let bed = Bed::new();
    bed.client()
        .start_task(bed.script("trap", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"))
        .unwrap();
    until("the trap is set", || bed.log("trap.stdout.0").contains("ready").then_some(()));
    assert_eq!(refusal(bed.client().remove("trap")), Refusal::StillRunning);
    // Signal 0 does nothing but ask.
    bed.client().signal("trap", 0).unwrap();
    bed.client().signal("trap", 15).unwrap();
    assert_eq!(bed.exit("trap").exit_code, 9);
    assert_eq!(refusal(bed.client().signal("trap", 15)), Refusal::NotRunning);
    assert_eq!(refusal(bed.client().signal("nobody", 15)), Refusal::UnknownTask);
    assert!(matches!(refusal(bed.client().signal("trap", 65)), Refusal::Invalid(_)));
}

/// Waits for pids that a script has echoed, one per line.
fn pids(bed: &Bed, log: &str, count: usize) -> Vec<i32> {
    until("the pids are written", || {
        let text = bed.log(log);
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == count && text.ends_with('\n')).then_some(pids)
    })
}

fn kill_all_ends_grandchildren() {
    let bed = Bed::new();
    let script =
        "trap '' TERM; (trap '' TERM; sleep 1000 & echo $!; wait) & echo $!; setsid sleep 1000 & echo $!; wait";
    bed.client().start_task(bed.script("tree", script)).unwrap();
    let pids = pids(&bed, "tree.stdout.0", 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    bed.client().kill_all("tree").unwrap();
    let exit = bed.exit("tree");
    assert_eq!((exit.exit_code, exit.signal), (137, 9));
    for pid in pids {
        until("the grandchild is gone", || (!is_alive(pid)).then_some(()));
    }
}

fn what_a_task_leaves_behind_is_ended() {
    let bed = Bed::new();
    // The grandchild holds the log pipe open and would for ever.
    let exit = bed.run(bed.script("leaver", "setsid sleep 1000 & echo $!; echo last words; exit 4"));
    assert_eq!(exit.exit_code, 4);
    assert!(bed.log("leaver.stdout.0").ends_with("last words\n"));
    let pid = bed.log("leaver.stdout.0").lines().next().unwrap().parse().unwrap();
    if has_cgroups_or_skip("what_a_task_leaves_behind_is_ended (own session)") {
        assert!(!is_alive(pid), "ended before the exit was told");
    } else {
        // Without cgroups it is found only if it had not left the session yet.
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn tasks_outlive_the_agent() {
    let mut bed = Bed::new();
    let go = bed.path("go");
    let counting = format!(
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; while [ ! -e {} ]; do sleep 0.01; done; echo end",
        go.display()
    );
    let long = bed.client().start_task(bed.script("long", &counting)).unwrap();
    let short = bed
        .client()
        .start_task(bed.script("short", &format!("while [ ! -e {} ]; do sleep 0.01; done; exit 5", go.display())))
        .unwrap();
    bed.client().start_task(bed.script("stays", "sleep 1000")).unwrap();
    let supervisor = bed.client().supervisor_pid();

    bed.lose_agent();
    std::fs::write(&go, "").unwrap();
    until("both have ended", || (!is_alive(short.pid) && !is_alive(long.pid)).then_some(()));

    bed.reconnect();
    assert_eq!(bed.client().supervisor_pid(), supervisor);
    assert_eq!(bed.exit("short").exit_code, 5);
    assert_eq!(bed.exit("long").exit_code, 0);
    let status = bed.status("stays").unwrap();
    let started = status.started.unwrap();
    assert_eq!(status.state, TaskState::Running);
    assert!(is_alive(started.pid) && started.start_ticks > 0);
    assert_eq!(bed.status("long").unwrap().started.unwrap(), long);
    let expected: String = (1..=3000).map(|n| format!("{n}\n")).chain(["end\n".to_owned()]).collect();
    assert_eq!(bed.log("long.stdout.0"), expected, "no line is missing or doubled");
}

fn events_are_told_at_least_once() {
    let bed = Bed::new();
    bed.run(bed.script("before", "exit 1"));
    let mut events = bed.client().events().unwrap();
    let first = events.next().unwrap();
    assert_eq!((first.task_id.as_str(), first.exit.exit_code), ("before", 1));
    assert_eq!(events.next_timeout(Duration::from_millis(5)).unwrap(), None);
    bed.client().remove("before").unwrap();
    bed.client().start_task(bed.script("after", "exit 2")).unwrap();
    let second = events.next().unwrap();
    assert_eq!((second.task_id.as_str(), second.exit.exit_code), ("after", 2));
    let stopper = events.stopper().unwrap();
    let waiting = std::thread::spawn(move || events.next().is_err());
    stopper.stop();
    assert!(waiting.join().unwrap());
}

fn memory_limit_is_enforced_and_told() {
    if !has_cgroups_or_skip("memory_limit_is_enforced_and_told") {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.script("hog", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done");
    spec.resources.memory_bytes = Some(16 << 20);
    let started = bed.client().start_task(spec).unwrap();
    assert_eq!((started.limits_applied, started.limits_reason), (true, None));
    let exit = bed.exit("hog");
    assert_eq!((exit.signal, exit.oom_killed), (9, true));
}

fn stats_come_from_the_cgroup() {
    if !has_cgroups_or_skip("stats_come_from_the_cgroup") {
        return;
    }
    let bed = Bed::new();
    let mut spec = bed.script("busy", "while :; do :; done");
    spec.resources.cpu_mhz = Some(500);
    spec.resources.memory_bytes = Some(64 << 20);
    spec.resources.memory_max_bytes = Some(128 << 20);
    spec.resources.pids_max = Some(50);
    bed.client().start_task(spec).unwrap();
    let stats = until("some time is used", || {
        let stats = bed.client().stats("busy").unwrap();
        (stats.cpu_total_ns > 20_000_000 && stats.cpu_user_ns > 0).then_some(stats)
    });
    assert_eq!(stats.processes, 1);
    assert!(stats.memory_usage_bytes > 0 && stats.memory_max_usage_bytes >= stats.memory_rss_bytes, "{stats:?}");
    let file = |v1: &str, v2: &str| {
        let cgroups = bed.cgroups();
        let found = cgroups
            .iter()
            .flat_map(|dir| [dir.join("busy").join(v1), dir.join("busy").join(v2)])
            .find(|file| file.exists());
        std::fs::read_to_string(found.unwrap()).unwrap().trim().to_owned()
    };
    assert_eq!(file("memory.limit_in_bytes", "memory.max"), (128 << 20).to_string());
    assert!(["500", "19"].contains(&file("cpu.shares", "cpu.weight").as_str()));
    assert_eq!(file("pids.max", "pids.max"), "50");
    assert_eq!(refusal(bed.client().stats("nobody")), Refusal::UnknownTask);
}

fn stats_without_a_cgroup_come_from_the_processes() {
    if cgroup_version() != "none" {
        return println!("test stats_without_a_cgroup_come_from_the_processes: does not apply: there are cgroups");
    }
    let bed = Bed::new();
    // What works has ended when it is asked for; a second session and what came out of it belong to the task too.
    let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let script = format!("sh -c '{work}'; setsid sleep 1000 & sleep 1000 & echo ready; wait");
    let started = bed.client().start_task(bed.script("busy", &script)).unwrap();
    until("it has worked", || bed.log("busy.stdout.0").contains("ready").then_some(()));
    let stats = until("all of them are seen", || {
        let stats = bed.client().stats("busy").unwrap();
        (stats.processes == 3).then_some(stats)
    });
    assert!(stats.cpu_total_ns > 0 && stats.cpu_total_ns == stats.cpu_user_ns + stats.cpu_system_ns, "{stats:?}");
    assert!(stats.memory_rss_bytes > 0 && stats.memory_usage_bytes >= stats.memory_rss_bytes, "{stats:?}");
    assert!(stats.memory_max_usage_bytes >= stats.memory_usage_bytes, "{stats:?}");
    bed.client().kill_all("busy").unwrap();
    bed.exit("busy");
    assert_eq!(refusal(bed.client().stats("busy")), Refusal::NotRunning);
    assert!(!is_alive(started.pid));
}

fn processor_time_without_a_cgroup_never_goes_down() {
    if cgroup_version() != "none" {
        return println!("test processor_time_without_a_cgroup_never_goes_down: does not apply: there are cgroups");
    }
    let bed = Bed::new();
    // What began the work has ended, so it falls to the supervisor: nobody of the task takes note of its end.
    let work = format!(
        "until test -e {}; do i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; done",
        bed.path("stop").display()
    );
    bed.client().start_task(bed.script("busy", &format!("(sh -c '{work}' &); exec sleep 1000"))).unwrap();
    let stats = || bed.client().stats("busy").unwrap();
    let seen = until("it has worked", || Some(stats()).filter(|stats| stats.cpu_total_ns > 100_000_000));
    assert_eq!(seen.processes, 2);
    std::fs::write(bed.path("stop"), "").unwrap();
    let mut last = seen.cpu_total_ns;
    until("the work is gone", || {
        let stats = stats();
        assert!(stats.cpu_total_ns >= last, "{} ns after {last} ns", stats.cpu_total_ns);
        last = stats.cpu_total_ns;
        (stats.processes == 1).then_some(())
    });
}

fn limits_that_can_not_be_had_are_named() {
    let bed = Bed::new();
    let unenforced = bed.client().unenforced();
    let mut spec = bed.script("limited", "exit 3");
    spec.resources.cpu_mhz = Some(500);
    spec.resources.memory_bytes = Some(64 << 20);
    let started = bed.client().start_task(spec).unwrap();
    assert_eq!(bed.exit("limited").exit_code, 3);
    match cgroup_version() {
        "none" => {
            let named: Vec<&str> = unenforced.keys().map(String::as_str).filter(|limit| *limit != "devices").collect();
            assert_eq!(named, ["cores", "cpu", "memory", "processes"]);
            assert!(started.limits_reason.is_some() && !started.limits_applied, "{started:?}");
        }
        _ => {
            assert!(["cpu", "memory"].iter().all(|limit| !unenforced.contains_key(*limit)), "{unenforced:?}");
            assert_eq!((started.limits_applied, started.limits_reason), (true, None));
        }
    }
}

fn linger_ends_all_and_leaves_nothing() {
    let mut bed = Bed::with(|options| {
        options.linger = Some(Duration::from_secs(2));
        options.remove_dir = Some(options.socket.with_file_name("data"));
    });
    std::fs::create_dir_all(bed.path("data/some/where")).unwrap();
    let task = bed.client().start_task(bed.script("stays", "sleep 1000")).unwrap();
    let supervisor = bed.client().supervisor_pid();
    bed.lose_agent();
    bed.reconnect();
    assert_eq!(bed.client().supervisor_pid(), supervisor, "back in time");
    assert!(is_alive(task.pid));
    bed.lose_agent();
    until("the supervisor has gone", || (!is_alive(supervisor)).then_some(()));
    assert!(!is_alive(task.pid));
    assert!(!bed.options.socket.exists() && !bed.path("data").exists());
    assert_eq!(bed.cgroups(), Vec::<std::path::PathBuf>::new());
}

fn shutdown_without_ending_tasks_refuses() {
    let bed = Bed::new();
    let task = bed.client().start_task(bed.script("stays", "sleep 1000")).unwrap();
    assert_eq!(refusal(bed.client().shutdown(false)), Refusal::StillRunning);
    bed.client().shutdown(true).unwrap();
    assert!(!is_alive(task.pid));
    assert!(!bed.options.socket.exists());
    until("the connection is over", || (!bed.client().is_connected()).then_some(()));
    assert!(matches!(bed.client().list(), Err(ClientError::Lost)));
    // Its end is done; let the bed find a living one.
    drop(Client::connect_or_start(bed.options.clone()).unwrap());
    let mut bed = bed;
    bed.reconnect();
}

fn a_shutdown_is_answered_in_any_bustle() {
    for _ in 0..15 {
        let bed = Bed::new();
        bed.client().start_task(bed.script("t", "sleep 1000")).unwrap();
        let other = Client::connect_or_start(bed.options.clone()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                // Until the end, which is none of their business.
                scope.spawn(|| while bed.client().list().is_ok() {});
            }
            let second = scope.spawn(|| other.shutdown(true));
            let first = bed.client().shutdown(true);
            // Whoever comes when all is over finds nobody; one who has been heard is answered.
            let outcomes = [first, second.join().unwrap()];
            assert!(
                outcomes.iter().any(Result::is_ok)
                    && outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(ClientError::Lost))),
                "{outcomes:?}"
            );
        });
    }
    for _ in 0..15 {
        let bed = Bed::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while bed.client().list().is_ok() {});
            }
            bed.client().shutdown(true).unwrap();
            assert!(!bed.client().is_connected());
        });
    }
}

fn a_new_supervisor_ends_what_nobody_knows() {
    if !has_cgroups_or_skip("a_new_supervisor_ends_what_nobody_knows") {
        return;
    }
    let mut bed = Bed::new();
    let task = bed.client().start_task(bed.script("orphan", "sleep 1000")).unwrap();
    let supervisor = rustix::process::Pid::from_raw(bed.client().supervisor_pid()).unwrap();
    let record = bed.options.socket.with_extension("tasks").join("orphan");
    until("its record is there", || record.exists().then_some(()));
    rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).unwrap();
    until("the connection is lost", || (!bed.client().is_connected()).then_some(()));
    std::fs::write(record, "torn").unwrap();
    bed.reconnect();
    assert_eq!(bed.client().list().unwrap(), vec![]);
    assert!(!is_alive(task.pid));
    assert_eq!(bed.run(bed.script("orphan", "exit 6")).exit_code, 6);
}

fn a_second_supervisor_of_a_node_is_refused() {
    if !has_cgroups_or_skip("a_second_supervisor_of_a_node_is_refused") {
        return;
    }
    let bed = Bed::new();
    let mut other = bed.options.clone();
    other.socket = bed.path("other.sock");
    let text = Client::connect_or_start(other).unwrap_err().to_string();
    assert_eq!(
        text,
        format!(
            "start supervisor: process {} is the supervisor of node {} already",
            bed.client().supervisor_pid(),
            bed.options.node_id
        )
    );
    let mut foreign = bed.options.clone();
    foreign.node_id = "someone-else".to_owned();
    let text = Client::connect_or_start(foreign).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("start supervisor: the supervisor belongs to node {}, not someone-else", bed.options.node_id)
    );
}

fn long_socket_paths_and_rights() {
    use std::os::unix::fs::PermissionsExt;
    let bed = Bed::with(|options| {
        let dir = options.socket.with_file_name("d".repeat(100)).join("e".repeat(100));
        options.socket = dir.join("supervisor.sock");
    });
    assert_eq!(bed.options.socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bed.run(bed.script("x", "exit 2")).exit_code, 2);
}

fn foreign_bytes_do_not_disturb() {
    use std::io::{Read, Write};
    let bed = Bed::new();
    for bytes in [&[255u8; 64][..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4], &[3, 0, 0, 0, 0xc0, 0xc0, 0xc0]] {
        let mut stream = std::os::unix::net::UnixStream::connect(&bed.options.socket).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "no answer to {bytes:?}");
    }
    let mut huge = bed.script("huge", "true");
    huge.env.insert("HUGE".to_owned(), "x".repeat(3 << 20));
    assert!(matches!(bed.client().start_task(huge), Err(ClientError::Wire(_))));
    assert_eq!(bed.run(bed.script("x", "exit 2")).exit_code, 2);
}

fn many_threads_may_ask_at_once() {
    let bed = Bed::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bed = &bed;
            scope.spawn(move || {
                for n in 0..10 {
                    let id = format!("t{thread}-{n}");
                    assert_eq!(bed.run(bed.script(&id, &format!("exit {n}"))).exit_code, n);
                    bed.client().remove(&id).unwrap();
                }
            });
        }
    });
    assert_eq!(bed.client().list().unwrap(), vec![]);
}
