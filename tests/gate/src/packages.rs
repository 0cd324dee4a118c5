//! Debian packages that the tests need.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program, the package that brings it, and what is skipped without it.
const NEEDED: &[(&str, &str, &str)] = &[
    ("gcc", "gcc", "nothing builds: ring and zstd are compiled from C"),
    ("ip", "iproute2", "tests in network namespaces of their own"),
    ("readelf", "binutils", "the proof that drover-edge is static"),
    ("python3", "python3", "the count of routes, commands and flags"),
];

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

fn is_root() -> bool {
    let uid = Command::new("id").arg("-u").output();
    uid.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs what is missing, or says what will be skipped and why.
pub fn install() -> Result<(), String> {
    let missing: Vec<_> = NEEDED.iter().filter(|(program, ..)| !is_there(program)).collect();
    if missing.is_empty() {
        println!("nothing is missing");
        return Ok(());
    }
    let can_install = is_root() && Path::new("/usr/bin/apt-get").exists();
    if !can_install {
        for (program, package, skipped) in missing {
            println!("skipped: {skipped} (no {program}; as root on Debian, `apt-get install {package}`)");
        }
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package, _)| *package).collect();
    println!("installing {}", packages.join(" "));
    for arguments in [
        vec!["update"],
        [vec!["install", "-y", "--no-install-recommends"], packages].concat(),
    ] {
        let status = Command::new("apt-get")
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .map_err(|e| format!("apt-get: {e}"))?;
        if !status.success() {
            return Err(format!("apt-get {} failed", arguments.join(" ")));
        }
    }
    Ok(())
}
