//! The kernel that `tests/cgroup-v2` boots, and some modules of it: Debian's for cloud machines, unpacked next to what is built
//! and not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{packages, stages};

/// What is skipped without it.
pub const SKIPPED: &str = "the edge on cgroup v2 and under a service manager";

/// The package that names the newest one.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// The modules that are kept, by their directory in the package and the beginning of their names.
const MODULES: &[(&str, &str)] = &[
    ("fs/overlayfs", "overlay"),
    ("drivers/net", "veth"),
    ("net/802", "stp"),
    ("net/llc", "llc"),
    ("net/bridge", "bridge"),
    ("net/netfilter", "nf_"),
    ("net/netfilter", "nft_"),
    ("net/netfilter", "nfnetlink"),
    ("net/ipv4/netfilter", "nf_"),
    ("net/ipv4/netfilter", "nft_fib"),
    ("net/ipv6/netfilter", "nf_"),
    ("net/ipv6/netfilter", "nft_fib"),
    ("crypto", "crc32c_generic"),
    ("lib", "libcrc32c"),
];

/// Gets the kernel once; later runs find it. What stands in the way skips a test and is no failure.
pub fn get() -> Result<(), String> {
    let dir = stages::target()?.join("guest-kernel");
    if let Some(image) = image(&dir).filter(|_| has_all(&dir)) {
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

/// Whether those modules are there that came into the list last.
fn has_all(dir: &Path) -> bool {
    ["overlay", "nft_fib_ipv4"].iter().all(|name| dir.join(format!("modules/{name}.ko")).exists())
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
        keep_modules(&work, &dir.join("modules"))?;
        let kept = dir.join(name);
        std::fs::rename(&image, &kept).map_err(|e| format!("{}: {e}", kept.display()))?;
        Ok(kept)
    });
    let _ = std::fs::remove_dir_all(&work);
    println!("the guest's kernel: {}", kept?.display());
    Ok(())
}

/// Keeps the modules of interest, all in one directory.
fn keep_modules(unpacked: &Path, kept: &Path) -> Result<(), String> {
    let failed = |path: &Path| format!("modules in {}", path.display());
    let all = unpacked.join("lib/modules");
    let mut versions = std::fs::read_dir(&all).map_err(|e| format!("{}: {e}", failed(&all)))?.flatten();
    let kernel = versions.next().ok_or_else(|| failed(&all))?.path().join("kernel");
    let _ = std::fs::remove_dir_all(kept);
    std::fs::create_dir_all(kept).map_err(|e| format!("{}: {e}", failed(kept)))?;
    for (dir, prefix) in MODULES {
        for file in std::fs::read_dir(kernel.join(dir)).into_iter().flatten().flatten() {
            let name = file.file_name();
            if name.to_string_lossy().starts_with(prefix) && file.path().extension().is_some_and(|end| end == "ko") {
                std::fs::copy(file.path(), kept.join(&name)).map_err(|e| format!("{}: {e}", failed(kept)))?;
            }
        }
    }
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

pub fn output(program: &str, arguments: &[&str], dir: &Path) -> Result<String, String> {
    let output =
        Command::new(program).args(arguments).current_dir(dir).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.lines().last().unwrap_or("it failed")))
}
