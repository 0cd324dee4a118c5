//! An emulator inside of the machine: qemu as it is installed here, with the libraries it asks for and the firmware of a PC.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::Guest;
use crate::parts::{Parts, stripped};

/// Where it looks for firmware, and for parts of itself.
const DIRS: [&str; 3] = ["/usr/share/qemu", "/usr/share/seabios", "/usr/lib/x86_64-linux-gnu/qemu"];
/// What a PC without a screen needs. Where emulating is no part of its own there is no file for it.
const FILES: [&str; 3] = ["bios-256k.bin", "kvmvapic.bin", "accel-tcg-x86_64.so"];
/// Where the kernel of a machine inside of it lies.
pub const KERNEL: &str = "/vmlinuz-inside";

/// Puts it into a machine.
///
/// # Errors
/// A part is missing.
pub fn put(parts: &Parts, guest: &mut Guest) -> Result<(), String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    for library in libraries(&parts.qemu)? {
        guest.file(&inside(&library), 0o755, read(&library)?);
    }
    guest.file("usr/bin/qemu-system-x86_64", 0o755, stripped(&parts.qemu)?);
    let places = FILES.iter().flat_map(|name| DIRS.iter().map(move |dir| Path::new(dir).join(name)));
    for path in places.filter(|path| path.exists()) {
        guest.file(&inside(&path), 0o644, read(&path)?);
    }
    guest.file(&inside(Path::new(KERNEL)), 0o644, read(&parts.kernel)?);
    Ok(())
}

fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// The libraries under the names by which they are looked for.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().find(|line| line.contains("not found")) {
        Some(line) => Err(format!("{}: {}", program.display(), line.trim())),
        None => Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()),
    }
}
