//! An agent that dies in the middle, one that has the store already, and one that is not root.

use std::process::{Command, Stdio};

use drover_images::{ImageStore, OpenError};
use rustix::process::{Pid, Signal, kill_process};

use crate::Case;
use crate::fake::Fake;
use crate::made::{Made, Tar};
use crate::support::{Place, eventually, request, settings, unpackers};

pub const CASES: &[Case] = &[
    ("crash::a_killed_agent_leaves_what_the_next_one_puts_right", a_killed_agent_leaves_what_the_next_one_puts_right),
    ("crash::one_store_one_agent", one_store_one_agent),
    ("crash::without_root_it_is_refused", without_root_it_is_refused),
];

const VICTIM: &str = "__victim";
const OPENER: &str = "__opener";

/// What the tests start themselves as.
pub fn main_if_victim() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [VICTIM, dir, host] => {
            let store = ImageStore::open(dir.as_ref(), settings(&[host])).unwrap();
            let _ = store.pull(request(&format!("{host}/large")), |_| {}).wait();
        }
        [OPENER, dir] => match ImageStore::open(dir.as_ref(), settings(&[])) {
            Ok(_) => println!("opened"),
            Err(error) => println!("{error}"),
        },
        _ => return,
    }
    std::process::exit(0);
}

const FILES: usize = 10_000;

/// One whose unpacking takes long enough to be looked at: many small files.
pub fn large_image() -> Made {
    let body = vec![1; 500];
    let tar = (0..FILES).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), &body));
    Made::of(&[tar.end()])
}

fn a_killed_agent_leaves_what_the_next_one_puts_right() {
    let made = large_image();
    let fake = Fake::start(move |seen| made.answer(seen));
    // In memory where that can be had: a disk that others write to at the same time makes syncing thousands of files slow.
    let shared = std::path::Path::new("/dev/shm");
    let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    let mut agent = Command::new("/proc/self/exe").arg(VICTIM).arg(dir.path()).arg(&fake.host).spawn().unwrap();
    let child = eventually("it unpacks", || unpackers(agent.id()).pop());
    kill_process(Pid::from_child(&agent), Signal::KILL).unwrap();
    agent.wait().unwrap();
    eventually("its child has ended with it", || (!child.exists() || is_zombie(&child)).then_some(()));
    let left = crate::support::names(&dir.path().join("temporary"));
    assert_eq!(left.len(), 1, "a layer, half unpacked");
    let store = ImageStore::open(dir.path(), settings(&[&fake.host])).unwrap();
    let temporary = || crate::support::names(&dir.path().join("temporary"));
    eventually("what was left is gone", || temporary().is_empty().then_some(()));
    assert!(store.find(&format!("{}/large", fake.host).parse().unwrap()).is_none());
    let image = store.pull(request(&format!("{}/large", fake.host)), |_| {}).wait().unwrap();
    assert_eq!(crate::support::names(&image.layers[0]).len(), FILES);
    // The bytes that had come were not fetched again.
    let layers = fake.seen().into_iter().filter(|seen| seen.target.contains("/blobs/")).count();
    assert_eq!(layers, 3, "the layer once, the configuration twice");
}

fn is_zombie(process: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

fn one_store_one_agent() {
    let place = Place::with("none");
    assert!(matches!(ImageStore::open(place.path(), settings(&[])), Err(OpenError::Locked(_))));
    let place = place.reopen(settings(&[]));
    assert_eq!(place.names("temporary"), [""; 0]);
}

pub fn without_root_it_is_refused() {
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    let mut opener = Command::new("/proc/self/exe");
    opener.arg(OPENER).arg(dir.path()).stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        opener.uid(1000).gid(1000);
    }
    let output = opener.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "images need root: their files have owners of their own\n");
}
