//! A supervisor that is killed, or becomes another program: its tasks do not notice.

use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use drover_supervisor::{Bind, Client, ContainerSpec, Exit, Isolation, Keeper, TaskSpec, TaskState};
use rustix::process::{Pid, Signal, kill_process};

use crate::Case;
use crate::support::{Bed, has_cgroups_or_skip, is_alive, is_root_or_skip, until};

pub const CASES: &[Case] = &[
    ("tasks_outlive_their_supervisor", tasks_outlive_their_supervisor),
    ("tasks_outlive_agent_and_supervisor", tasks_outlive_agent_and_supervisor),
    ("an_end_that_nobody_saw_is_told", an_end_that_nobody_saw_is_told),
    ("what_a_dead_task_left_is_ended", what_a_dead_task_left_is_ended),
    ("last_words_are_kept_for_the_next_supervisor", last_words_are_kept_for_the_next_supervisor),
    ("a_supervisor_becomes_another_program", a_supervisor_becomes_another_program),
    ("a_broken_program_leaves_the_old_one", a_broken_program_leaves_the_old_one),
    ("its_program_is_not_written_to_by_who_had_hold_of_it", its_program_is_not_written_to_by_who_had_hold_of_it),
    ("a_supervisor_is_killed_again_and_again", a_supervisor_is_killed_again_and_again),
];

/// Writes numbered lines until `stop` is there, then a last one, and ends with 7.
fn counting(bed: &Bed) -> String {
    format!(
        "i=0; while [ ! -e {}/stop ]; do i=$((i+1)); echo line $i; sleep 0.001; done; echo end; exit 7",
        bed.dir.path().display()
    )
}

/// The lines are 1, 2, 3 … and then the end, in all files of the log together.
fn assert_gapless(bed: &Bed, task: &str) {
    let text: String = (0..50).map(|n| bed.log(&format!("{task}.stdout.{n}"))).collect();
    let lines: Vec<&str> = text.lines().collect();
    let (last, numbered) = lines.split_last().unwrap();
    assert_eq!(*last, "end", "{task}: {text}");
    for (place, line) in numbered.iter().enumerate() {
        assert_eq!(*line, format!("line {}", place + 1), "{task}");
    }
    assert!(numbered.len() > 5, "{task}: {text}");
}

/// A task with a root and a pid namespace of its own; it sees the bed's directory under its own name.
fn contained(bed: &Bed, id: &str, script: &str) -> TaskSpec {
    let mut spec = bed.script(id, script);
    let root = bed.path(&format!("{id}-root"));
    std::fs::create_dir_all(&root).unwrap();
    let bind = |path: PathBuf, optional: bool| Bind {
        source: path.clone(),
        target: path,
        read_only: true,
        optional,
        follows_host: false,
    };
    let mut binds: Vec<Bind> =
        ["/bin", "/etc", "/lib", "/lib64", "/usr"].iter().map(|path| bind(PathBuf::from(path), true)).collect();
    binds.push(Bind {
        source: bed.dir.path().into(),
        target: bed.dir.path().into(),
        read_only: true,
        optional: false,
        follows_host: false,
    });
    spec.cwd = "/".into();
    spec.isolation = Isolation::Container(ContainerSpec::new(root, binds));
    spec
}

/// The tasks that each case starts: plain ones, and contained ones where that can be.
fn start_tasks(bed: &Bed) -> Vec<(String, i32)> {
    let script = counting(bed);
    let mut specs = vec![bed.script("plain1", &script), bed.script("plain2", &script)];
    specs[1].stdout.as_mut().unwrap().max_file_size_bytes = 4096;
    specs[1].stdout.as_mut().unwrap().max_files = 50;
    if is_root_or_skip("contained tasks") {
        specs.push(contained(bed, "inside", &script));
    }
    let start = |spec: TaskSpec| (spec.id.clone(), bed.client().start_task(spec).unwrap().pid);
    let tasks: Vec<_> = specs.into_iter().map(start).collect();
    for (id, _) in &tasks {
        until("it writes", || bed.log(&format!("{id}.stdout.0")).contains("line 3\n").then_some(()));
    }
    tasks
}

fn kill_supervisor(bed: &Bed) -> i32 {
    let pid = bed.client().supervisor_pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    until("the supervisor is gone", || (!is_alive(pid)).then_some(()));
    pid
}

fn lines_written(bed: &Bed, task: &str) -> usize {
    (0..50).map(|n| bed.log(&format!("{task}.stdout.{n}")).lines().count()).sum()
}

fn assert_running(bed: &Bed, tasks: &[(String, i32)]) {
    for (id, pid) in tasks {
        let status = bed.status(id).unwrap();
        assert_eq!(status.state, TaskState::Running, "{id}");
        assert_eq!(status.started.unwrap().pid, *pid, "{id}");
        assert!(is_alive(*pid), "{id}");
        let before = lines_written(bed, id);
        until("the log goes on", || (lines_written(bed, id) > before).then_some(()));
    }
}

/// Lets all of them end by themselves and checks every line.
fn end_and_check(bed: &Bed, tasks: &[(String, i32)]) -> Vec<Exit> {
    std::fs::write(bed.path("stop"), "").unwrap();
    tasks
        .iter()
        .map(|(id, _)| {
            let exit = bed.exit(id);
            assert_gapless(bed, id);
            exit
        })
        .collect()
}

fn has_word_of_ends() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

/// Where the kernel tells how a process ended that is nobody's child, that is told; else that it is not known.
fn assert_told(exits: &[Exit], code: i32) {
    for exit in exits {
        match exit.is_unknown {
            false => assert_eq!(exit.exit_code, code),
            true => assert!(!has_word_of_ends(), "{exit:?}"),
        }
    }
}

fn kept() -> Bed {
    Bed::with(|options| options.keeper = Some(Arc::new(Keeper::new())))
}

fn tasks_outlive_their_supervisor() {
    let mut bed = kept();
    let tasks = start_tasks(&bed);
    let keeper = bed.options.keeper.clone().unwrap();
    until("copies are there", || (keeper.task_count() == tasks.len()).then_some(()));
    let before = kill_supervisor(&bed);
    bed.reconnect();
    assert_ne!(bed.client().supervisor_pid(), before);
    assert_running(&bed, &tasks);
    // What is asked of them is done as before.
    bed.client().start_task(bed.script("other", "sleep 1000")).unwrap();
    let before = kill_supervisor(&bed);
    bed.reconnect();
    assert_ne!(bed.client().supervisor_pid(), before);
    bed.client().kill_all("other").unwrap();
    let exit = bed.exit("other");
    assert!(exit.is_unknown || exit.signal == 9, "{exit:?}");
    if has_cgroups_or_skip("figures of an adopted task") {
        assert!(bed.client().stats("plain1").unwrap().processes > 0);
    }
    assert_told(&end_and_check(&bed, &tasks), 7);
    bed.client().remove("other").unwrap();
    assert_eq!(bed.run(bed.script("other", "exit 6")).exit_code, 6);
    until("copies of ended tasks are gone", || (keeper.task_count() == 0).then_some(()));
}

fn tasks_outlive_agent_and_supervisor() {
    let mut bed = Bed::new();
    let tasks = start_tasks(&bed);
    kill_supervisor(&bed);
    bed.lose_agent();
    // They go on writing while nobody reads, and are not ended by it.
    bed.reconnect();
    assert_running(&bed, &tasks);
    bed.client().signal("plain1", 10).unwrap();
    let exit = bed.exit("plain1");
    assert!(exit.is_unknown || exit.signal == 10, "{exit:?}");
    assert_told(&end_and_check(&bed, &tasks[1..]), 7);
}

fn an_end_that_nobody_saw_is_told() {
    let mut bed = kept();
    bed.run(bed.script("before", "exit 3"));
    let go = bed.path("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.01; done; echo bye; exit 5", go.display());
    let task = bed.client().start_task(bed.script("away", &script)).unwrap();
    let keeper = bed.options.keeper.clone().unwrap();
    until("a copy is there", || (keeper.task_count() == 1).then_some(()));
    kill_supervisor(&bed);
    std::fs::write(&go, "").unwrap();
    until("it has ended", || (!is_alive(task.pid)).then_some(()));
    bed.reconnect();
    assert_eq!(bed.exit("before").exit_code, 3, "an end that was not acknowledged is kept");
    assert_told(&[bed.exit("away")], 5);
    assert_eq!(bed.log("away.stdout.0"), "bye\n", "what it wrote last was in the copy of its pipe");
}

fn last_words_are_kept_for_the_next_supervisor() {
    let mut bed = Bed::new();
    let go = bed.path("go");
    let script =
        format!("echo 1; while [ ! -e {} ]; do sleep 0.01; done; head -c 50000 /dev/zero; sleep 1000", go.display());
    bed.client().start_task(bed.script("writer", &script)).unwrap();
    until("it writes", || (bed.log("writer.stdout.0") == "1\n").then_some(()));
    kill_supervisor(&bed);
    bed.lose_agent();
    // More than a page into a pipe that nobody reads.
    std::fs::write(&go, "").unwrap();
    bed.reconnect();
    until("all of it is there", || (bed.log("writer.stdout.0").len() == 50_002).then_some(()));
    assert_eq!(bed.status("writer").unwrap().state, TaskState::Running);
}

/// Also where no cgroup holds it together.
fn what_a_dead_task_left_is_ended() {
    let mut bed = kept();
    let script = format!("sleep 1000 & echo $! > {0}/new; mv {0}/new {0}/left; wait", bed.dir.path().display());
    let pid = bed.client().start_task(bed.script("t", &script)).unwrap().pid;
    let left = until("it has a child", || std::fs::read_to_string(bed.path("left")).ok());
    let left: i32 = left.trim().parse().unwrap();
    kill_supervisor(&bed);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert!(is_alive(left));
    bed.reconnect();
    bed.exit("t");
    until("its child has ended", || (!is_alive(left)).then_some(()));
}

/// Has it become that program. It stays as it is and is asked again where a disk or the whole machine is slow, or another case has the
/// new file open still because it started something at that very moment.
fn replace(bed: &Bed, program: &std::path::Path) {
    let passes = ["logs wait for a disk", "it takes too long", "text file busy"];
    until("it takes the other program", || match bed.client().replace(program) {
        Ok(()) => Some(()),
        Err(refused) if passes.iter().any(|reason| refused.to_string().to_lowercase().contains(reason)) => None,
        Err(refused) => panic!("{refused}"),
    });
}

/// Waits until it refuses the program with that reason: where the machine is slow it may have others first.
fn refused_with(bed: &Bed, program: &std::path::Path, reason: &str) {
    let mut others = std::collections::BTreeSet::new();
    until(&format!("it refuses with {reason:?}"), || {
        let refused = bed.client().replace(program).unwrap_err().to_string();
        let is_it = refused.contains(reason);
        if !is_it && others.insert(refused.clone()) {
            println!("it refuses with {refused:?}");
        }
        is_it.then_some(())
    });
}

fn a_supervisor_becomes_another_program() {
    let mut bed = kept();
    let tasks = start_tasks(&bed);
    bed.run(bed.script("before", "exit 3"));
    let next = bed.path("next-version");
    std::fs::copy(std::env::current_exe().unwrap(), &next).unwrap();
    let pid = bed.client().supervisor_pid();
    for _ in 0..3 {
        replace(&bed, &next);
        bed.reconnect();
        assert_eq!(bed.client().supervisor_pid(), pid, "the same process");
        let file = |path: &std::path::Path| {
            let meta = std::fs::metadata(path).unwrap();
            (meta.dev(), meta.ino())
        };
        assert_eq!(file(format!("/proc/{pid}/exe").as_ref()), file(&next));
    }
    assert_running(&bed, &tasks);
    assert_eq!(bed.exit("before").exit_code, 3);
    let exits = end_and_check(&bed, &tasks);
    assert!(exits.iter().all(|exit| (exit.exit_code, exit.is_unknown) == (7, false)), "still its children: {exits:?}");
    assert_eq!(bed.run(bed.script("after", "exit 6")).exit_code, 6);
}

/// As a container's root would that got hold of what is executed there, and waited until nothing of it runs any more.
fn its_program_is_not_written_to_by_who_had_hold_of_it() {
    if !is_root_or_skip("its_program_is_not_written_to_by_who_had_hold_of_it") {
        return;
    }
    let copy = |dir: &std::path::Path, name: &str| {
        let copy = dir.join(name);
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        copy
    };
    let programs = tempfile::tempdir().unwrap();
    let first = copy(programs.path(), "first");
    let mut bed = Bed::with(|options| options.program = Some(first.clone()));
    let next = copy(programs.path(), "next");
    let mut held = Vec::new();
    for program in [&first, &next] {
        if program == &next {
            replace(&bed, &next);
            bed.reconnect();
        }
        held.push(std::fs::File::open(format!("/proc/{}/exe", bed.client().supervisor_pid())).unwrap());
    }
    let pid = bed.client().supervisor_pid();
    drop(bed);
    until("nothing of it runs", || (!is_alive(pid)).then_some(()));
    for (held, program) in held.iter().zip([&first, &next]) {
        let open = |path: &std::path::Path| std::fs::File::options().write(true).open(path);
        until("the file itself can be written to", || open(program).ok());
        let refused = open(format!("/proc/self/fd/{}", held.as_raw_fd()).as_ref()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{refused}");
    }
}

fn a_broken_program_leaves_the_old_one() {
    let bed = Bed::new();
    let tasks = start_tasks(&bed);
    let broken = bed.path("broken");
    std::fs::write(&broken, "#!/bin/sh\nexit 0\n").unwrap();
    let set_mode = |mode: u32| {
        std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    for mode in [0o755, 0o644] {
        set_mode(mode);
        let refused = bed.client().replace(&broken).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("trial of {}: ", broken.display())), "{refused}");
    }
    assert!(bed.client().replace(&bed.path("missing")).is_err());
    std::fs::write(&broken, "#!/bin/sh\nsleep 1000\n").unwrap();
    set_mode(0o755);
    refused_with(&bed, &broken, "it takes too long");
    // One that leaves something behind which holds on to its output.
    std::fs::write(&broken, format!("#!/bin/sh\nsleep 1000 &\necho $! >> {}\n", bed.path("left").display())).unwrap();
    refused_with(&bed, &broken, "it does not read the state");
    for left in std::fs::read_to_string(bed.path("left")).unwrap().lines() {
        // One of an earlier try may be gone already.
        let _ = kill_process(Pid::from_raw(left.parse().unwrap()).unwrap(), Signal::KILL);
    }
    assert_running(&bed, &tasks);
    let exits = end_and_check(&bed, &tasks);
    assert!(exits.iter().all(|exit| exit.exit_code == 7), "{exits:?}");
}

fn a_supervisor_is_killed_again_and_again() {
    let mut bed = kept();
    let tasks = start_tasks(&bed);
    for round in 0..20 {
        kill_supervisor(&bed);
        if round % 2 == 1 {
            bed.lose_agent();
            bed.options.keeper = Some(Arc::new(Keeper::new()));
        }
        bed.reconnect();
        assert!(tasks.iter().all(|(_, pid)| is_alive(*pid)), "round {round}");
    }
    assert_running(&bed, &tasks);
    assert_told(&end_and_check(&bed, &tasks), 7);
    drop(Client::connect_or_start(bed.options.clone()).unwrap());
}
