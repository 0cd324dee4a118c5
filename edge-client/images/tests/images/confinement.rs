//! What the child that unpacks can still do, and that it ends with the wish for the image.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::Case;
use crate::crash::large_image;
use crate::fake::Fake;
use crate::support::{Place, eventually, request, unpackers};

pub const CASES: &[Case] =
    &[("confinement::the_child_has_little_and_ends_with_the_pull", the_child_has_little_and_ends_with_the_pull)];

fn status(process: &Path, key: &str) -> String {
    let text = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_owned()
}

fn the_child_has_little_and_ends_with_the_pull() {
    let made = large_image();
    let fake = Fake::start(move |seen| made.answer(seen));
    let place = Place::with(&fake.host);
    let pull = place.store.pull(request(&format!("{}/large", fake.host)), |_| {});
    // Other cases unpack too: this one's child stands in this store.
    let child = eventually("the child is confined", || {
        let mine = |path: &std::path::PathBuf| {
            let mounts = std::fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
            mounts.contains(place.path().to_str().unwrap()) && status(path, "NoNewPrivs") == "1"
        };
        let set = |path: &std::path::PathBuf| status(path, "CapPrm") != status(Path::new("/proc/self"), "CapPrm");
        let child = unpackers(std::process::id()).into_iter().find(|path| mine(path) && set(path))?;
        // It stands still while it is looked at, however slow the looks are.
        let pid: i32 = child.file_name()?.to_str()?.parse().ok()?;
        kill_process(Pid::from_raw(pid)?, Signal::STOP).ok()?;
        (mine(&child) && set(&child)).then_some(child)
    });
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETFCAP.
    let few = format!("{:016x}", 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1_u64 << 31);
    for set in ["CapPrm", "CapEff"] {
        assert_eq!(status(&child, set), few, "{set}");
    }
    for none in ["CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(status(&child, none), "0".repeat(16), "{none}");
    }
    assert_eq!(status(&child, "Threads"), "1");
    for namespace in ["mnt", "net", "ipc", "uts", "cgroup"] {
        let of = |process: &Path| process.join("ns").join(namespace).read_link().unwrap();
        assert_ne!(of(&child), of(Path::new("/proc/self")), "{namespace}");
    }
    // One mount, and it is the layer's directory.
    let mounts = std::fs::read_to_string(child.join("mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.contains("nodev") && mounts.contains("nosuid") && mounts.contains("noexec"), "{mounts}");
    let interfaces = std::fs::read_to_string(child.join("net/dev")).unwrap();
    assert_eq!(interfaces.lines().filter(|line| line.contains(':')).count(), 1, "only lo: {interfaces}");
    let open: Vec<_> =
        child.join("fd").read_dir().unwrap().flatten().filter_map(|fd| fd.path().read_link().ok()).collect();
    assert!(open.iter().all(|fd| !fd.to_string_lossy().contains("socket:")), "{open:?}");
    assert!(std::fs::read(child.join("environ")).unwrap().is_empty());

    drop(pull);
    eventually("the child has ended", || (!child.join("status").exists()).then_some(()));
    eventually("nothing is left", || place.names("temporary").is_empty().then_some(()));
    assert!(place.names("layers").is_empty());
    // What was fetched is good for the next time.
    assert_eq!(place.names("partial").len(), 1);
}
