//! Contained tasks.

use drover_supervisor::{Bind, ClientError, ContainerSpec, Device, Isolation, NamespaceMode, Refusal, TaskSpec};

use crate::Case;
use crate::support::{Bed, cgroup_version, is_alive, is_root_or_skip, until};

pub const CASES: &[Case] = &[
    ("a_contained_task_sees_its_own_world", a_contained_task_sees_its_own_world),
    ("a_contained_task_has_the_usual_rights", a_contained_task_has_the_usual_rights),
    ("a_contained_task_has_the_devices_that_it_was_given", a_contained_task_has_the_devices_that_it_was_given),
    ("without_device_rules_no_device_file_opens", without_device_rules_no_device_file_opens),
    ("a_contained_task_is_in_its_cgroups", a_contained_task_is_in_its_cgroups),
    ("a_contained_task_ends_as_a_whole", a_contained_task_ends_as_a_whole),
    ("a_bad_container_says_why", a_bad_container_says_why),
    ("a_contained_task_is_limited", a_contained_task_is_limited),
    ("a_task_has_cores_of_its_own", a_task_has_cores_of_its_own),
];

fn contained(bed: &Bed, id: &str, script: &str) -> TaskSpec {
    let mut spec = bed.script(id, script);
    let root = bed.path(&format!("{id}-root"));
    for dir in ["", "local", "tmp"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    std::fs::create_dir_all(bed.path("alloc")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    for dir in [root.join("local"), bed.path("alloc")] {
        std::fs::set_permissions(dir, PermissionsExt::from_mode(0o777)).unwrap();
    }
    let host = |path: &str| Bind {
        source: path.into(),
        target: path.into(),
        read_only: true,
        optional: true,
        follows_host: false,
    };
    let mut binds: Vec<Bind> = ["/bin", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr"].map(host).to_vec();
    binds.push(Bind {
        source: bed.path("alloc"),
        target: "/alloc".into(),
        read_only: false,
        optional: false,
        follows_host: false,
    });
    spec.cwd = "/".into();
    spec.isolation = Isolation::Container(ContainerSpec::new(root, binds));
    spec
}

fn a_contained_task_sees_its_own_world() {
    if !is_root_or_skip("a_contained_task_sees_its_own_world") {
        return;
    }
    let bed = Bed::new();
    let script = "echo $$; ls -d /proc/[0-9]* | wc -l; touch /usr/x 2>&1; echo mine >/local/f && cat /local/f; \
                  echo shared >/alloc/f; touch /tmp/y && echo tmp; hostname; test -e /root || echo no root; ls /sys/class >/dev/null && echo sys; exit 5";
    let exit = bed.run(contained(&bed, "world", script));
    assert_eq!((exit.exit_code, exit.signal), (5, 0));
    let log = bed.log("world.stdout.0");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], "1", "{log}");
    assert!(lines[1].parse::<u32>().unwrap() <= 4, "{log}");
    assert!(lines[2].contains("Read-only file system"), "{log}");
    assert_eq!(&lines[3..5], ["mine", "tmp"], "{log}");
    assert_eq!(lines[5], rustix::system::uname().nodename().to_str().unwrap(), "{log}");
    assert_eq!(&lines[6..], ["no root", "sys"], "{log}");
    assert_eq!(std::fs::read_to_string(bed.path("alloc/f")).unwrap(), "shared\n");
    assert_eq!(std::fs::read_to_string(bed.path("world-root/local/f")).unwrap(), "mine\n");
    assert_eq!(bed.log("world.stderr.0"), "");
    // Nothing of the making is left, the environment least of all.
    for dir in ["containers/bundle", "containers/state"] {
        assert_eq!(std::fs::read_dir(bed.path(dir)).unwrap().count(), 0, "{dir}");
    }
}

fn a_contained_task_has_the_usual_rights() {
    if !is_root_or_skip("a_contained_task_has_the_usual_rights") {
        return;
    }
    let bed = Bed::new();
    let mut spec = contained(
        &bed,
        "rights",
        "id -u; grep -E '^(CapEff|CapAmb|NoNewPrivs)' /proc/self/status; echo $USER; umask; cat /dev/mem 2>&1 | head -c 100 | tail -1; readlink /proc/self/ns/ipc",
    );
    spec.user = Some("nobody".to_owned());
    bed.run(spec);
    let log = bed.log("rights.stdout.0");
    // With the right to make device files: rules say which of them are of any use, on cgroup v2 too.
    let mask = "a80405fb";
    let expected = format!("65534\nCapEff:\t00000000{mask}\nCapAmb:\t00000000{mask}\nNoNewPrivs:\t1\nnobody\n0022\n");
    assert!(log.starts_with(&expected), "{log}");
    let own_ipc = std::fs::read_link("/proc/self/ns/ipc").unwrap();
    assert!(!log.contains(own_ipc.to_str().unwrap()), "{log}");

    let mut spec = contained(&bed, "host", "echo $$; readlink /proc/self/ns/ipc");
    if let Isolation::Container(container) = &mut spec.isolation {
        (container.pid_mode, container.ipc_mode) = (NamespaceMode::Host, NamespaceMode::Host);
    }
    let started = bed.client().start_task(spec).unwrap();
    bed.exit("host");
    let log = bed.log("host.stdout.0");
    assert_eq!(log, format!("{}\n{}\n", started.pid, own_ipc.display()));
}

fn a_contained_task_has_the_devices_that_it_was_given() {
    if !is_root_or_skip("a_contained_task_has_the_devices_that_it_was_given") {
        return;
    }
    let bed = Bed::new();
    // None of those that every task has.
    let known = ["/dev/fuse", "/dev/loop-control", "/dev/kmsg"];
    let host_path = known.iter().find(|path| std::path::Path::new(path).exists()).expect("a machine has one of them");
    // The same device under another name is no other device: one that is made inside, and one that comes with a directory.
    let dir = bed.path("nodes");
    std::fs::create_dir(&dir).unwrap();
    let number = std::os::unix::fs::MetadataExt::rdev(&std::fs::metadata(host_path).unwrap());
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, dir.join("bound"), kind, mode, number).unwrap();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    if std::fs::File::open(dir.join("bound")).is_err() {
        return println!(
            "test a_contained_task_has_the_devices_that_it_was_given: skipped: device files are of no use here"
        );
    }
    let opens = |path: &str| {
        format!(
            "test ! -e {path} || {{ ( : <{path} ) 2>/dev/null && echo -n ' read'; ( : >{path} ) 2>/dev/null && echo -n ' write'; }}; "
        )
    };
    let script = |id: &str| {
        let script = format!(
            "test -e {host_path} || echo -n ' none'; {}echo -n ' bound:'; {}mknod /tmp/made c {major} {minor}; echo -n ' made:'; {}",
            opens(host_path),
            opens("/nodes/bound"),
            opens("/tmp/made")
        );
        let mut spec = contained(&bed, id, &script);
        let Isolation::Container(container) = &mut spec.isolation else { unreachable!() };
        container.binds.push(Bind { source: dir.clone(), target: "/nodes".into(), ..Bind::default() });
        spec
    };
    let with = |id: &str, access: &str| {
        let mut spec = script(id);
        let Isolation::Container(container) = &mut spec.isolation else { unreachable!() };
        let (host_path, access) = (host_path.into(), access.to_owned());
        container.devices = vec![Device { path: std::path::PathBuf::clone(&host_path), host_path, access }];
        spec
    };
    let check = |id: &str, spec: TaskSpec, expected: &str| {
        bed.run(spec);
        let (said, errors) = (bed.log(&format!("{id}.stdout.0")), bed.log(&format!("{id}.stderr.0")));
        assert_eq!(said, expected, "{host_path}: {errors}");
    };
    check("without", script("without"), " none bound: made:");
    check("with", with("with", "rw"), " read write bound: read write made: read write");
    check("reader", with("reader", "r"), " read bound: read made: read");
    let mut missing = with("missing", "rw");
    let Isolation::Container(container) = &mut missing.isolation else { unreachable!() };
    container.devices[0].host_path = "/dev/nowhere".into();
    let refused = bed.client().start_task(missing).unwrap_err();
    assert!(format!("{refused:?}").contains("/dev/nowhere"), "{refused:?}");
}

/// The kernel takes no programs from this thread, nor from any process that it starts.
#[allow(unsafe_code, reason = "nothing else makes a system call fail")]
fn forbid_programs() {
    let step = |code: u16, jt: u8, jf: u8, k: u32| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        // The number of the call; that one is not permitted, all others are.
        step(0x20, 0, 0, 0),
        step(0x15, 0, 1, u32::try_from(libc::SYS_bpf).unwrap()),
        step(0x06, 0, 0, libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap()),
        step(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads the program, which outlives the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// This thread, and every process that it starts, does not see where rules are written on cgroup v1.
#[allow(unsafe_code, reason = "a view of the file system for one thread")]
fn hide_rules() {
    // SAFETY: only what this thread sees of the file system changes.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNS) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    run("mount", &["--make-rprivate", "/"]);
    let mounts = std::fs::read_to_string("/proc/thread-self/mounts").unwrap();
    for line in mounts.lines() {
        if let [_, path, "cgroup", options, ..] = line.split(' ').collect::<Vec<_>>()[..]
            && options.split(',').any(|word| word == "devices")
        {
            run("umount", &[path]);
        }
    }
}

/// A file system of its own, gone in the end.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn at(dir: std::path::PathBuf) -> Mounted {
        std::fs::create_dir(&dir).unwrap();
        run("mount", &["-t", "tmpfs", "tmpfs", dir.to_str().unwrap()]);
        Mounted(dir)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, args: &[&str]) {
    assert!(std::process::Command::new(program).args(args).status().unwrap().success(), "{program} {args:?}");
}

fn without_device_rules_no_device_file_opens() {
    let name = "without_device_rules_no_device_file_opens";
    if !is_root_or_skip(name) {
        return;
    }
    let reason = match cgroup_version() {
        "v1" => {
            hide_rules();
            "the devices controller is not available"
        }
        "v2" => {
            forbid_programs();
            "the kernel takes no rules for devices: operation not permitted"
        }
        _ => return println!("test {name}: does not apply: there are no cgroups"),
    };
    let bed = Bed::new();
    assert_eq!(bed.client().unenforced().get("devices").map(String::as_str), Some(reason));
    let script = "for file in /alloc/null /alloc/below/null /local/null /local/below/null /dev/null /dev/zero; do ( : <$file ) && echo $file; done; mknod /local/n c 1 3";
    let spec = contained(&bed, "curious", script);
    // An earlier start that had rules may have made some in the task's own root.
    let local = bed.path("curious-root/local");
    let below = [Mounted::at(bed.path("alloc/below")), Mounted::at(local.join("below"))];
    for dir in [&bed.path("alloc"), &local, &below[0].0, &below[1].0] {
        run("mknod", &[dir.join("null").to_str().unwrap(), "c", "1", "3"]);
    }
    let exit = bed.run(spec);
    assert_ne!(exit.exit_code, 0);
    assert_eq!(bed.log("curious.stdout.0"), "/dev/null\n/dev/zero\n", "{}", bed.log("curious.stderr.0"));
}

fn a_contained_task_is_in_its_cgroups() {
    if !is_root_or_skip("a_contained_task_is_in_its_cgroups") {
        return;
    }
    let bed = Bed::new();
    assert_eq!(bed.run(contained(&bed, "member", "cat /proc/self/cgroup; sleep 0 & wait")).exit_code, 0);
    let log = bed.log("member.stdout.0");
    let is_member_of = |controller: &str| {
        let of_it =
            |line: &str| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == controller));
        log.lines().any(|line| of_it(line) && line.ends_with("/member"))
    };
    // By these it is counted, limited, killed as a whole, and kept from devices.
    let needed: &[&str] = match cgroup_version() {
        "v1" => &["freezer", "memory", "cpu", "cpuacct", "pids", "devices"],
        "v2" => &[""],
        _ => return println!("skipped: no cgroups"),
    };
    assert!(needed.iter().all(|controller| is_member_of(controller)), "{log}");
}

fn a_contained_task_ends_as_a_whole() {
    if !is_root_or_skip("a_contained_task_ends_as_a_whole") {
        return;
    }
    let mut bed = Bed::new();
    let script = "trap 'exit 11' TERM; setsid sleep 1000 & echo ready; while :; do sleep 0.01; done";
    let first = bed.client().start_task(contained(&bed, "first", script)).unwrap();
    let second = bed.client().start_task(contained(&bed, "second", script)).unwrap();
    for task in ["first.stdout.0", "second.stdout.0"] {
        until("it runs", || bed.log(task).contains("ready").then_some(()));
    }
    bed.lose_agent();
    bed.reconnect();
    assert!(first.start_ticks > 0 && is_alive(first.pid) && is_alive(second.pid));
    bed.client().signal("first", 15).unwrap();
    assert_eq!(bed.exit("first").exit_code, 11);
    bed.client().kill_all("second").unwrap();
    assert_eq!(bed.exit("second").signal, 9);
    let left: Vec<_> =
        bed.cgroups().into_iter().filter(|dir| dir.join("first").exists() || dir.join("second").exists()).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

fn a_bad_container_says_why() {
    if !is_root_or_skip("a_bad_container_says_why") {
        return;
    }
    let bed = Bed::new();
    let mut spec = contained(&bed, "bad", "");
    spec.argv = vec!["/nope".to_owned()];
    let text = match bed.client().start_task(spec).unwrap_err() {
        ClientError::Refused(Refusal::StartFailed(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(text.contains("executable '/nope' not found in $PATH"), "{text}");
    let mut spec = contained(&bed, "bad", "");
    if let Isolation::Container(container) = &mut spec.isolation {
        container.binds.push(Bind {
            source: "/no/such".into(),
            target: "/x".into(),
            read_only: true,
            optional: false,
            follows_host: false,
        });
    }
    let text = bed.client().start_task(spec).unwrap_err().to_string();
    assert_eq!(text, "bind /no/such: no such file or directory");
    assert_eq!(bed.client().list().unwrap(), vec![]);
    // The same id may be used at once again, when what the failed start left is gone.
    let started = until("the id is free", || bed.client().start_task(contained(&bed, "bad", "exit 1")).ok());
    assert!(started.pid > 1);
    assert_eq!(bed.exit("bad").exit_code, 1);
}

fn a_task_has_cores_of_its_own() {
    if !is_root_or_skip("a_task_has_cores_of_its_own") {
        return;
    }
    let bed = Bed::new();
    let script = "grep Cpus_allowed_list /proc/self/status";
    for mut spec in [bed.script("plain", script), contained(&bed, "inside", script)] {
        spec.resources.cores = "0".to_owned();
        let id = spec.id.clone();
        let started = bed.client().start_task(spec).unwrap();
        assert!(started.limits_applied, "{started:?}");
        assert_eq!(bed.exit(&id).exit_code, 0);
        assert_eq!(bed.log(&format!("{id}.stdout.0")), "Cpus_allowed_list:\t0\n");
    }
}

fn a_contained_task_is_limited() {
    if !is_root_or_skip("a_contained_task_is_limited") {
        return;
    }
    let bed = Bed::new();
    let mut spec = contained(&bed, "hog", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done");
    spec.resources.memory_bytes = Some(24 << 20);
    let started = bed.client().start_task(spec).unwrap();
    assert!(started.limits_applied, "{started:?}");
    let exit = bed.exit("hog");
    assert_eq!((exit.signal, exit.oom_killed), (9, true));

    // What makes the container is none of its processes: neither in the way of the first ones, nor room for another.
    for (id, pids_max, script, expected) in [
        ("one", 1, "echo alone; ( echo second ); echo more", "alone\n"),
        ("two", 2, "( echo second ); ( ( echo third ); echo more ); echo first", "second\nfirst\n"),
    ] {
        let mut spec = contained(&bed, id, script);
        spec.resources.pids_max = Some(pids_max);
        let started = bed.client().start_task(spec).unwrap();
        assert!(started.limits_applied, "{started:?}");
        bed.exit(id);
        assert_eq!(bed.log(&format!("{id}.stdout.0")), expected, "{}", bed.log(&format!("{id}.stderr.0")));
    }
}
