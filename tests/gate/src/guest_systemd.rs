//! The service manager that `tests/cgroup-v2` boots: a Debian package of a version that can give a unit's process a leaf of its
//! own, unpacked next to what is built. It is not installed, so nothing of it ever runs on this machine.

use std::path::Path;

use crate::guest_kernel::output;
use crate::{packages, stages};

/// What is skipped without it.
const SKIPPED: &str = "the newer service manager in the guest (the one of this machine is tried, if there is one)";
/// Where a later version is than the release's own.
const SUITE: &str = "bookworm-backports";
const PACKAGES: [&str; 2] = ["systemd", "libsystemd-shared"];

/// Gets it once; later runs find it. What stands in the way skips a test and is no failure.
pub fn get() -> Result<(), String> {
    let dir = stages::target()?.join("guest-systemd");
    if dir.join("lib/systemd/systemd").exists() {
        println!("the guest's service manager is there: {}", dir.display());
        return Ok(());
    }
    if std::env::consts::ARCH != "x86_64" {
        println!("skipped: {SKIPPED} (it needs an x86_64 host)");
    } else if !packages::can_install() {
        println!("skipped: {SKIPPED} (as root on Debian this stage gets one)");
    } else if let Err(error) = download(&dir) {
        println!("skipped: {SKIPPED} ({error})");
    }
    Ok(())
}

fn download(dir: &Path) -> Result<(), String> {
    let work = dir.with_extension("new");
    // Left by a run that was ended.
    let _ = std::fs::remove_dir_all(&work);
    let unpacked = unpack(&work).and_then(|()| {
        let _ = std::fs::remove_dir_all(dir);
        std::fs::rename(work.join("root"), dir).map_err(|e| format!("{}: {e}", dir.display()))
    });
    let _ = std::fs::remove_dir_all(&work);
    unpacked
}

/// Downloads the packages by lists of their own: those of this machine stay as they are.
fn unpack(work: &Path) -> Result<(), String> {
    for below in ["lists/partial", "cache/archives/partial", "root"] {
        std::fs::create_dir_all(work.join(below)).map_err(|e| format!("{}: {e}", work.display()))?;
    }
    let source = format!(
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {SUITE} main\n"
    );
    std::fs::write(work.join("sources.list"), source).map_err(|e| format!("{}: {e}", work.display()))?;
    let at = |name: &str| work.join(name).display().to_string();
    let options = [
        // Its own user for downloads may not write here.
        "APT::Sandbox::User=root".to_owned(),
        format!("Dir::Etc::SourceList={}", at("sources.list")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::Cache={}", at("cache")),
    ];
    let apt_get = |words: &[&str]| {
        let options = options.iter().flat_map(|option| ["-o", option.as_str()]);
        let arguments: Vec<&str> = options.chain(words.iter().copied()).collect();
        output("apt-get", &arguments, work)
    };
    apt_get(&["update"])?;
    let wanted: Vec<String> = PACKAGES.iter().map(|package| format!("{package}/{SUITE}")).collect();
    apt_get(&[&["download"][..], &wanted.iter().map(String::as_str).collect::<Vec<_>>()].concat())?;
    let entries = std::fs::read_dir(work).map_err(|e| format!("{}: {e}", work.display()))?;
    for archive in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|end| end == "deb")) {
        output("dpkg", &["-x", &archive.file_name().to_string_lossy(), "root"], work)?;
    }
    match work.join("root/lib/systemd/systemd").exists() {
        true => Ok(()),
        false => Err("the package holds no service manager".to_owned()),
    }
}
