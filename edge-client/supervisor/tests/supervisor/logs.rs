//! What tasks write, in rotated files.

use crate::Case;
use crate::support::{Bed, until};

pub const CASES: &[Case] = &[
    ("both_streams_are_kept_apart", both_streams_are_kept_apart),
    ("logs_rotate_and_go_on", logs_rotate_and_go_on),
    ("a_fast_writer_loses_nothing", a_fast_writer_loses_nothing),
    ("a_full_disk_does_not_stop_a_task", a_full_disk_does_not_stop_a_task),
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
