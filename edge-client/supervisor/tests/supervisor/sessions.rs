//! Commands inside running tasks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use drover_supervisor::{Bind, ClientError, ContainerSpec, Isolation, Refusal, Session, SessionSpec};

use crate::Case;
use crate::support::{Bed, has_cgroups_or_skip, is_alive, is_root_or_skip, until};

pub const CASES: &[Case] = &[
    ("a_command_runs_beside_a_task", a_command_runs_beside_a_task),
    ("a_command_runs_inside_a_container", a_command_runs_inside_a_container),
    ("a_command_begins_inside_its_container", a_command_begins_inside_its_container),
    ("a_command_has_a_terminal", a_command_has_a_terminal),
    ("a_session_ends_with_who_asked_for_it", a_session_ends_with_who_asked_for_it),
    ("a_session_ends_with_its_task", a_session_ends_with_its_task),
];

fn spec(bed: &Bed, task: &str, script: &str) -> SessionSpec {
    SessionSpec {
        task_id: task.to_owned(),
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned()), ("WHO".to_owned(), "me".to_owned())]),
        cwd: bed.dir.path().to_owned(),
        user: None,
        is_terminal: false,
        has_image: false,
    }
}

fn pipe() -> (File, OwnedFd) {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    (read.into(), write)
}

/// Runs it with that input: output, errors, exit code.
fn run(bed: &Bed, spec: &SessionSpec, input: &str) -> Result<(String, String, i32), ClientError> {
    let (stdin, mut to) = pipe();
    let ((mut out, stdout), (mut err, stderr)) = (pipe(), pipe());
    rustix::io::write(&mut to, input.as_bytes()).unwrap();
    drop(to);
    let mut session = bed.client().session(spec, [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
    drop((stdin, stdout, stderr));
    let (mut text, mut errors) = (String::new(), String::new());
    out.read_to_string(&mut text).unwrap();
    err.read_to_string(&mut errors).unwrap();
    Ok((text, errors, session.wait()?.0))
}

fn a_command_runs_beside_a_task() {
    let bed = Bed::new();
    bed.client().start_task(bed.script("t", "sleep 1000")).unwrap();
    let said = run(&bed, &spec(&bed, "t", "cat; echo $WHO; pwd; echo bad >&2; exit 3"), "hi\n").unwrap();
    assert_eq!(said, (format!("hi\nme\n{}\n", bed.dir.path().display()), "bad\n".to_owned(), 3));
    if has_cgroups_or_skip("a_command_runs_beside_a_task (cgroup)") {
        let (cgroup, _, _) = run(&bed, &spec(&bed, "t", "cat /proc/self/cgroup"), "").unwrap();
        assert!(cgroup.contains(&format!("/drover/{}/t", bed.options.node_id)), "{cgroup}");
    }
    let refused = |spec: &SessionSpec| match run(&bed, spec, "").unwrap_err() {
        ClientError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let mut missing = spec(&bed, "t", "");
    missing.argv = vec!["/nope".to_owned()];
    assert_eq!(refused(&missing).to_string(), "fork/exec /nope: no such file or directory");
    assert_eq!(refused(&spec(&bed, "nobody", "true")), Refusal::UnknownTask);
    bed.run(bed.script("over", "exit 0"));
    assert_eq!(refused(&spec(&bed, "over", "true")), Refusal::NotRunning);
    // Many, one after the other and at once.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let bed = &bed;
            scope.spawn(move || {
                for n in 0..10 {
                    let said = run(bed, &spec(bed, "t", &format!("echo {thread}; exit {n}")), "").unwrap();
                    assert_eq!(said, (format!("{thread}\n"), String::new(), n));
                }
            });
        }
    });
}

fn a_command_runs_inside_a_container() {
    if !is_root_or_skip("a_command_runs_inside_a_container") {
        return;
    }
    let bed = Bed::new();
    let mut task = bed.script("t", "echo inside > /mark; sleep 1000; :");
    let root = bed.path("root");
    std::fs::create_dir_all(root.join("tmp")).unwrap();
    let bind = |path: &&str| Bind {
        source: path.into(),
        target: path.into(),
        read_only: true,
        optional: true,
        follows_host: false,
    };
    let binds = ["/bin", "/etc", "/lib", "/lib64", "/usr"].iter().map(bind).collect();
    task.cwd = "/".into();
    task.isolation = Isolation::Container(ContainerSpec::new(root.clone(), binds));
    let started = bed.client().start_task(task).unwrap();
    until("it runs", || root.join("mark").exists().then_some(()));
    let mut inside = spec(
        &bed,
        "t",
        "cat /mark; pwd; id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; ls /proc/1 >/dev/null && cat /proc/1/comm",
    );
    (inside.cwd, inside.user) = ("/tmp".into(), Some("nobody:0".to_owned()));
    let (text, errors, code) = run(&bed, &inside, "").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", started.pid)).unwrap();
    let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
    let expected = format!("inside\n/tmp\n65534\nCapEff:\t{bounds}\nCapBnd:\t{bounds}\nNoNewPrivs:\t1\nsh\n");
    assert_eq!((text, code), (expected, 0), "{errors}");
    for kind in ["mnt", "pid", "ipc", "uts"] {
        let mut spec = spec(&bed, "t", &format!("readlink /proc/self/ns/{kind}"));
        spec.cwd = "/".into();
        let own = std::fs::read_link(format!("/proc/{}/ns/{kind}", started.pid)).unwrap();
        assert_eq!(run(&bed, &spec, "").unwrap().0, format!("{}\n", own.display()), "{kind}");
    }
    let mut missing = spec(&bed, "t", "");
    (missing.cwd, missing.argv) = ("/".into(), vec!["nope".to_owned()]);
    let refused = run(&bed, &missing, "").unwrap_err().to_string();
    assert_eq!(refused, "exec: \"nope\": executable file not found in $PATH");
}

/// The supervisor holds directories of the host (those of logs) open: an image's working directory must not lead to one.
fn a_command_begins_inside_its_container() {
    if !is_root_or_skip("a_command_begins_inside_its_container") {
        return;
    }
    let bed = Bed::new();
    let mut task = bed.script("t", "echo inside > /mark; sleep 1000; :");
    let root = bed.path("root");
    std::fs::create_dir_all(&root).unwrap();
    let bind = |path: &&str| Bind {
        source: path.into(),
        target: path.into(),
        read_only: true,
        optional: true,
        ..Bind::default()
    };
    let binds = ["/bin", "/lib", "/lib64", "/usr"].iter().map(bind).collect();
    task.cwd = "/".into();
    task.isolation = Isolation::Container(ContainerSpec::new(root.clone(), binds));
    bed.client().start_task(task).unwrap();
    until("it runs", || root.join("mark").exists().then_some(()));
    let refusals: Vec<String> = (3..40)
        .map(|number| {
            let mut outside = spec(&bed, "t", "readlink /proc/self/cwd");
            outside.cwd = format!("/proc/self/fd/{number}").into();
            run(&bed, &outside, "").expect_err("it began elsewhere").to_string()
        })
        .collect();
    assert!(refusals.iter().any(|refusal| refusal.contains("leads out of the container")), "{refusals:?}");
}

fn terminal() -> (OwnedFd, OwnedFd) {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let outer = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&outer).unwrap();
    rustix::pty::unlockpt(&outer).unwrap();
    let inner = rustix::pty::ioctl_tiocgptpeer(&outer, flags).unwrap();
    (outer, inner)
}

fn a_command_has_a_terminal() {
    let bed = Bed::new();
    bed.client().start_task(bed.script("t", "sleep 1000")).unwrap();
    let (outer, inner) = terminal();
    let mut spec = spec(&bed, "t", "stty size; tty; read line; echo got $line; exit 4");
    spec.is_terminal = true;
    let size = rustix::termios::Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&outer, size).unwrap();
    let mut session: Session = bed.client().session(&spec, [inner.as_fd(), inner.as_fd(), inner.as_fd()]).unwrap();
    drop(inner);
    let mut outer = File::from(outer);
    outer.write_all(b"word\n").unwrap();
    let mut text = Vec::new();
    // The end of a terminal is an error.
    let _ = outer.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("40 120") && text.contains("/dev/pts/") && text.contains("got word"), "{text}");
    assert_eq!(session.wait().unwrap(), (4, 0));
}

fn a_session_ends_with_who_asked_for_it() {
    let bed = Bed::new();
    bed.client().start_task(bed.script("t", "sleep 1000")).unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let (mut out, stdout) = pipe();
    // With a job in the background, which a shell puts into a group of its own.
    let spec = spec(&bed, "t", "trap '' HUP; set -m; sleep 1000 & echo $$ $!; while :; do sleep 0.05; done");
    let session = bed.client().session(&spec, [null.as_fd(), stdout.as_fd(), null.as_fd()]).unwrap();
    let pids = pids(&mut out);
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    drop(session);
    until("all of it has ended", || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
    assert!(bed.client().list().unwrap().len() == 1);
}

/// The process numbers in one line.
fn pids(out: &mut File) -> Vec<i32> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut chunk = [0; 64];
        let length = out.read(&mut chunk).unwrap();
        assert!(length > 0, "nothing was said");
        line.extend_from_slice(&chunk[..length]);
    }
    String::from_utf8(line).unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Also where no cgroup holds them together.
fn a_session_ends_with_its_task() {
    let bed = Bed::new();
    bed.client().start_task(bed.script("t", "sleep 1000")).unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let (mut out, stdout) = pipe();
    let spec = spec(&bed, "t", "trap '' HUP TERM; sleep 1000 & echo $$ $!; while :; do sleep 0.05; done");
    let mut session = bed.client().session(&spec, [null.as_fd(), stdout.as_fd(), null.as_fd()]).unwrap();
    let pids = pids(&mut out);
    bed.client().kill_all("t").unwrap();
    assert_eq!(session.wait().unwrap(), (137, 9));
    until("all of it has ended", || (!pids.iter().any(|pid| is_alive(*pid))).then_some(()));
    bed.exit("t");
}
