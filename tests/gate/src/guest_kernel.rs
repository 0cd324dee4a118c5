//! The kernel that `tests/cgroup-v2` boots: Debian's for cloud machines, unpacked next to what is built and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{packages, stages};

/// What is skipped without it.
pub const SKIPPED: &str = "the supervisor's suite on cgroup v2";

/// The package that names the newest one.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// Gets the kernel once; later runs find it. What stands in the way skips a test and is no failure.
pub fn get() -> Result<(), String> {
    let dir = stages::target()?.join("guest-kernel");
    if let Some(image) = image(&dir) {
        println!("the guest's kernel is there: {}", image.display());
        return Ok(());
    }
    if std::env::consts::ARCH != "x86_64" {
        println!("skipped: {SKIPPED} (it needs an x86_64 host)");
    } else if !packages::can_install() {
        println!("skipped: {SKIPPED} (no kernel for it; as root on Debian this stage gets one)");
    } else if let Err(error) = download(&dir) {
        println!("skipped: {SKIPPED} (no kernel for it: {error})");
    }
    Ok(())
}

fn image(dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let is_image =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"));
    files.filter(is_image).max()
}

fn download(dir: &Path) -> Result<(), String> {
    let work = dir.join("unpacked");
    // Left by a run that was ended.
    let _ = std::fs::remove_dir_all(&work);
    let found = unpack_newest(&work).or_else(|_| {
        // The lists may be none, or too old to name what can still be had.
        packages::apt_get(&["update"])?;
        unpack_newest(&work)
    });
    let kept = found.and_then(|image| {
        let name = image.file_name().ok_or("the kernel has no name")?;
        let kept = dir.join(name);
        std::fs::rename(&image, &kept).map_err(|e| format!("{}: {e}", kept.display()))?;
        Ok(kept)
    });
    let _ = std::fs::remove_dir_all(&work);
    println!("the guest's kernel: {}", kept?.display());
    Ok(())
}

/// Downloads the newest kernel's package and unpacks it below a directory.
fn unpack_newest(work: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(work).map_err(|e| format!("{}: {e}", work.display()))?;
    let depends = output("apt-cache", &["depends", PACKAGE], work)?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| format!("{PACKAGE} names no kernel"))?;
    // Its own user for downloads may not write here.
    output("apt-get", &["-o", "APT::Sandbox::User=root", "download", package], work)?;
    let archive = std::fs::read_dir(work)
        .map_err(|e| format!("{}: {e}", work.display()))?
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| format!("{package} was not downloaded"))?;
    output("dpkg", &["-x", &archive.file_name().to_string_lossy(), "."], work)?;
    image(&work.join("boot")).ok_or_else(|| format!("{package} holds no kernel"))
}

fn output(program: &str, arguments: &[&str], dir: &Path) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).current_dir(dir).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.lines().last().unwrap_or("it failed")))
}
