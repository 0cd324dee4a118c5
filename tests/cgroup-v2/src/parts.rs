//! What a machine is made of, and what is said when a part is not here.

use std::path::{Path, PathBuf};

use crate::guest::Guest;
use crate::systemd::Systemd;

/// The programs and the kernel of a machine, all of this host's architecture.
#[derive(Debug)]
pub struct Parts {
    /// The emulator.
    pub qemu: PathBuf,
    /// A busybox that needs no library.
    pub busybox: PathBuf,
    /// A kernel image, which is only read.
    pub kernel: PathBuf,
    /// What `cargo gate packages` has put beside it.
    built: PathBuf,
}

impl Parts {
    /// Finds them; `built` is the target's folder, where `cargo gate packages` keeps what it gets.
    ///
    /// # Errors
    /// What is missing, and how it comes.
    pub fn find(built: &Path) -> Result<Self, String> {
        let kernels = built.join("guest-kernel");
        if std::env::consts::ARCH != "x86_64" {
            return Err(format!("the machine is an x86_64, this is {}", std::env::consts::ARCH));
        }
        let qemu = program("qemu-system-x86_64", "qemu-system-x86")?;
        let busybox = program("busybox", "busybox-static")?;
        if !is_static(&busybox) {
            return Err(format!(
                "{} needs libraries; the package busybox-static has one that does not",
                busybox.display()
            ));
        }
        let kernel = kernel(&kernels)
            .ok_or_else(|| format!("no kernel in {}; `cargo gate packages` gets one", kernels.display()))?;
        Ok(Self { qemu, busybox, kernel, built: built.to_owned() })
    }

    /// A module of the kernel.
    ///
    /// # Errors
    /// It is missing.
    pub fn module(&self, name: &str) -> Result<Vec<u8>, String> {
        let path = self.built.join("guest-kernel/modules").join(format!("{name}.ko"));
        std::fs::read(&path).map_err(|error| format!("{}: {error}; `cargo gate packages` gets it", path.display()))
    }

    /// A machine with busybox and no more.
    ///
    /// # Errors
    /// Busybox can't be read.
    pub fn guest(&self) -> Result<Guest, String> {
        let busybox = std::fs::read(&self.busybox);
        Ok(Guest::new(busybox.map_err(|error| format!("{}: {error}", self.busybox.display()))?))
    }

    /// A service manager.
    ///
    /// # Errors
    /// There is none.
    pub fn systemd(&self) -> Result<Systemd, String> {
        Systemd::find(&self.built.join("guest-systemd"))
    }
}

/// A program without what only a debugger needs: a machine keeps its files in memory.
///
/// # Errors
/// It can't be read.
pub fn stripped(program: &Path) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let small = dir.path().join("small");
    let done = std::process::Command::new("strip").arg("-o").arg(&small).arg(program).status();
    let file = if done.is_ok_and(|status| status.success()) { &small } else { program };
    std::fs::read(file).map_err(|error| format!("{}: {error}", program.display()))
}

fn program(name: &str, package: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("no {name}; the Debian package {package} has it"))
}

fn kernel(dir: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    files.filter(|file| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"))).max()
}

/// Whether a 64-bit ELF file names no interpreter.
#[must_use]
pub fn is_static(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| segments(&bytes).is_some_and(|kinds| !kinds.contains(&INTERPRETER)))
}

const INTERPRETER: u32 = 3;

/// The kinds of an ELF file's program headers.
fn segments(elf: &[u8]) -> Option<Vec<u32>> {
    fn number<const N: usize>(elf: &[u8], at: usize) -> Option<[u8; N]> {
        elf.get(at..at.checked_add(N)?)?.try_into().ok()
    }
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(number(elf, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(number(elf, 54)?));
    let count = usize::from(u16::from_le_bytes(number(elf, 56)?));
    (0..count).map(|n| Some(u32::from_le_bytes(number(elf, table.checked_add(n * size)?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_makes_static_programs() {
        assert!(is_static(&std::env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/proc/self/status")), "not a program at all");
        assert_eq!(segments(b"\x7fELF\x02\x01"), None, "cut off");
    }

    #[test]
    fn the_newest_kernel_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kernel(dir.path()), None);
        for name in ["vmlinuz-6.1.0-50", "vmlinuz-6.1.0-56", "x.deb"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(kernel(dir.path()), Some(dir.path().join("vmlinuz-6.1.0-56")));
        assert_eq!(kernel(&dir.path().join("none")), None);
    }
}
