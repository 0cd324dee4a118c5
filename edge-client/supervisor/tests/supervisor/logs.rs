//! What tasks write, in rotated files.

use crate::Case;
use crate::support::{Bed, until};

pub const CASES: &[Case] = &[
    ("both_streams_are_kept_apart", both_streams_are_kept_apart),
    ("logs_rotate_and_go_on", logs_rotate_and_go_on),
    ("a_fast_writer_loses_nothing", a_fast_writer_loses_nothing),
    ("a_full_disk_does_not_stop_a_task", a_full_disk_does_not_stop_a_task),
    ("what_a_full_disk_cost_stands_in_the_log", what_a_full_disk_cost_stands_in_the_log),
    ("a_stalled_disk_delays_only_logs", a_stalled_disk_delays_only_logs),
];

fn both_streams_are_kept_apart() {
    let bed = Bed::new();
    bed.run(bed.script("web", "echo out; echo err >&2; printf 'no newline'"));
    assert_eq!((bed.log("web.stdout.0"), bed.log("web.stderr.0")), ("out\nno newline".to_owned(), "err\n".to_owned()));
    let mut silent = bed.script("silent", "echo out; echo err >&2; exit 3");
    (silent.stdout, silent.stderr) = (None, None);
    assert_eq!(bed.run(silent).exit_code, 3);
    assert!(!bed.path("logs/silent.stdout.0").exists());
}

fn logs_rotate_and_go_on() {
    let bed = Bed::new();
    let mut spec = bed.script("web", "printf 0123456789abcdefghij");
    let stdout = spec.stdout.as_mut().unwrap();
    (stdout.max_files, stdout.max_file_size_bytes) = (2, 8);
    bed.run(spec.clone());
    let files = || -> Vec<(String, String)> {
        let mut names: Vec<String> = std::fs::read_dir(bed.path("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("stdout"))
            .collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), bed.log(&name))).collect()
    };
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    assert_eq!(files(), [pair("web.stdout.1", "89abcdef"), pair("web.stdout.2", "ghij")]);
    bed.client().remove("web").unwrap();
    bed.run(spec);
    assert_eq!(
        files(),
        [pair("web.stdout.4", "cdefghij"), pair("web.stdout.3", "456789ab")].into_iter().rev().collect::<Vec<_>>()
    );
}

fn a_fast_writer_loses_nothing() {
    let bed = Bed::new();
    let mut spec = bed.script("fast", "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end");
    let stdout = spec.stdout.as_mut().unwrap();
    (stdout.max_files, stdout.max_file_size_bytes) = (10, 7_000_000);
    bed.run(spec);
    let sizes: Vec<u64> =
        (0..3).map(|n| bed.path(&format!("logs/fast.stdout.{n}")).metadata().unwrap().len()).collect();
    assert_eq!(sizes, [7_000_000, 7_000_000, 6_000_005]);
    assert!(bed.log("fast.stdout.2").ends_with("x\nend\n"));
}

fn a_full_disk_does_not_stop_a_task() {
    if !crate::support::is_root_or_skip("a_full_disk_does_not_stop_a_task") {
        return;
    }
    let bed = Bed::new();
    let small = bed.path("small");
    std::fs::create_dir(&small).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &small, "tmpfs", flags, Some(c"size=64k")).unwrap();
    let mut spec = bed.script("full", "head -c 300000 /dev/zero; exit 8");
    spec.stdout.as_mut().unwrap().dir = small.clone();
    let exit = bed.run(spec);
    let dropped = bed.status("full").unwrap().log_bytes_dropped;
    until("the mount is free", || rustix::mount::unmount(&small, rustix::mount::UnmountFlags::empty()).ok());
    assert_eq!(exit.exit_code, 8);
    assert!((200_000..300_000).contains(&dropped), "{dropped}");
}

fn what_a_full_disk_cost_stands_in_the_log() {
    if !crate::support::is_root_or_skip("what_a_full_disk_cost_stands_in_the_log") {
        return;
    }
    let bed = Bed::new();
    let (small, go) = (bed.path("small"), bed.path("go"));
    std::fs::create_dir(&small).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &small, "tmpfs", flags, Some(c"size=64k")).unwrap();
    std::fs::write(small.join("ballast"), vec![0; 32 << 10]).unwrap();
    let script = format!("head -c 100000 /dev/zero; while [ ! -e {} ]; do sleep 0.01; done; echo after", go.display());
    let mut spec = bed.script("full", &script);
    spec.stdout.as_mut().unwrap().dir = small.clone();
    bed.client().start_task(spec).unwrap();
    until("bytes are dropped", || (bed.status("full").unwrap().log_bytes_dropped > 60_000).then_some(()));
    std::fs::remove_file(small.join("ballast")).unwrap();
    std::fs::write(&go, "").unwrap();
    bed.exit("full");
    let dropped = bed.status("full").unwrap().log_bytes_dropped;
    let text = String::from_utf8(std::fs::read(small.join("full.stdout.0")).unwrap()).unwrap();
    until("the mount is free", || rustix::mount::unmount(&small, rustix::mount::UnmountFlags::empty()).ok());
    let note = format!("\ndrover: {dropped} bytes of output are missing here: they could not be written\nafter\n");
    assert!(text.ends_with(&note), "{dropped}: {:?}", text.get(text.len().saturating_sub(200)..));
}

/// An ext4 in a file that is frozen: whoever writes to it waits.
fn a_stalled_disk_delays_only_logs() {
    if !crate::support::is_root_or_skip("a_stalled_disk_delays_only_logs") {
        return;
    }
    let bed = Bed::new();
    let Some(disk) = Disk::new(&bed) else {
        println!("test a_stalled_disk_delays_only_logs: skipped: no file system in a file can be mounted here");
        return;
    };
    let mut spec = bed.script("slow", "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; exit 4");
    let mut first = bed.script("first", "echo here; sleep 1000");
    for log in [&mut spec, &mut first].into_iter().flat_map(|spec| [&mut spec.stdout, &mut spec.stderr]) {
        log.as_mut().unwrap().dir = disk.place.clone();
    }
    bed.client().start_task(first).unwrap();
    until("it writes", || {
        (std::fs::read_to_string(disk.place.join("first.stdout.0")).unwrap_or_default() == "here\n").then_some(())
    });
    disk.freeze(true);
    // Starts, ends and kills go on; the end of one that has written waits a moment for its log, and no longer.
    assert_eq!(bed.run(spec).exit_code, 4);
    assert_eq!(bed.run(bed.script("other", "echo x; exit 5")).exit_code, 5);
    bed.client().kill_all("first").unwrap();
    assert_eq!(bed.exit("first").signal, 9);
    disk.freeze(false);
    let expected: String = (1..=500).map(|n| format!("{n}\n")).collect();
    let log = || std::fs::read_to_string(disk.place.join("slow.stdout.0")).unwrap_or_default();
    until("the log is whole", || (log() == expected).then_some(()));
    until("the other log is whole", || (bed.log("other.stdout.0") == "x\n").then_some(()));
    for id in ["slow", "other", "first"] {
        bed.client().remove(id).unwrap();
    }
}

/// A file system of its own in a file.
struct Disk {
    place: std::path::PathBuf,
}

impl Disk {
    fn new(bed: &Bed) -> Option<Disk> {
        let (image, place) = (bed.path("image"), bed.path("disk"));
        std::fs::create_dir(&place).unwrap();
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            std::process::Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
        };
        let is_there = run("mkfs.ext4", &["-q".as_ref(), image.as_os_str()])
            && run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_os_str(), place.as_os_str()]);
        is_there.then_some(Disk { place })
    }

    fn freeze(&self, is_frozen: bool) {
        let how = if is_frozen { "-f" } else { "-u" };
        let done = std::process::Command::new("fsfreeze").arg(how).arg(&self.place).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Thawed already, unless the case failed in between.
        let _ = std::process::Command::new("fsfreeze").arg("-u").arg(&self.place).output();
        // Its last user may still be about to close a file.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.place).output();
    }
}
