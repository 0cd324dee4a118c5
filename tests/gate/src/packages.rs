//! Debian packages that the tests need.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{guest_kernel, guest_systemd};

/// A program, the package that brings it, and what is skipped without it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("gcc", "gcc", "nothing builds: ring and zstd are compiled from C"),
    ("ip", "iproute2", "tests in network namespaces of their own"),
    ("readelf", "binutils", "the proof that drover-edge is static, and the edge under a service manager"),
    ("python3", "python3", "the count of routes, commands and flags"),
    ("qemu-system-x86_64", "qemu-system-x86", guest_kernel::SKIPPED),
    ("busybox", "busybox-static", guest_kernel::SKIPPED),
    ("docker-registry", "docker-registry", IMAGES_SKIPPED),
    ("skopeo", "skopeo", IMAGES_SKIPPED),
    ("umoci", "umoci", IMAGES_SKIPPED),
];

/// What is skipped without a real registry and the tools that make images for it.
const IMAGES_SKIPPED: &str = "images as real tools make them, from a real registry";

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).any(|dir| dir.join(program).is_file())
}

fn is_root() -> bool {
    let uid = Command::new("id").arg("-u").output();
    uid.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether packages can be had here: root, on Debian or what is made from it.
pub fn can_install() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs what is missing, or says what will be skipped and why.
pub fn install() -> Result<(), String> {
    let missing: Vec<_> = NEEDED.iter().filter(|(program, ..)| !is_there(program)).collect();
    if missing.is_empty() {
        println!("nothing is missing");
    } else if can_install() {
        let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
        println!("installing {}", packages.join(" "));
        let arguments = [&["install", "-y", "--no-install-recommends"][..], &packages].concat();
        // Without a network the rest is still worth a run.
        if let Err(error) = apt_get(&["update"]).and_then(|()| apt_get(&arguments)) {
            println!("{error}");
        }
    }
    for (program, package, skipped) in missing.iter().filter(|(program, ..)| !is_there(program)) {
        println!("skipped: {skipped} (no {program}; as root on Debian, `apt-get install {package}`)");
    }
    guest_kernel::get()?;
    guest_systemd::get()
}

/// Runs apt-get, which then says only what went wrong.
pub fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("apt-get: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("apt-get {} failed", arguments.join(" "))) }
}
