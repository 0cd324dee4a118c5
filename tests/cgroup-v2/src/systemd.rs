//! A service manager for a machine: systemd with the libraries it asks for, and the targets that every boot goes through.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::Guest;

/// Where the guest has it.
const MANAGER: &str = "/lib/systemd/systemd";
const UNITS: &str = "usr/lib/systemd/system";
/// What a unit with the usual dependencies draws in.
const TARGETS: &[&str] = &[
    "basic",
    "final",
    "local-fs",
    "local-fs-pre",
    "multi-user",
    "network",
    "network-online",
    "network-pre",
    "paths",
    "shutdown",
    "slices",
    "sockets",
    "swap",
    "sysinit",
    "timers",
    "umount",
];
/// Its words go where the kernel's do, and nobody keeps a journal.
const SETTINGS: &str = "[Manager]\nLogTarget=kmsg\nLogLevel=info\nShowStatus=no\nDefaultStandardOutput=null\n";
/// Runs the case. Where nothing else is wanted, the machine does no more than this.
const CASE: &str = "[Unit]\nDescription=the case\n\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nStandardOutput=tty\n\
                    StandardError=tty\nTTYPath=/dev/console\nExecStart=/run-case\n";

/// One that can be put into a machine.
#[derive(Debug)]
pub struct Systemd {
    /// The tree that it is taken from: an unpacked package, or this host's root.
    root: PathBuf,
    /// Its version.
    pub version: u32,
}

impl Systemd {
    /// Finds the one that `cargo gate packages` gets, else that of this host.
    ///
    /// # Errors
    /// There is none, or one that does not say what it is.
    pub fn find(unpacked: &Path) -> Result<Self, String> {
        let is_there = |root: &PathBuf| root.join("lib/systemd/systemd").is_file();
        let mut roots = [unpacked.to_owned(), PathBuf::from("/")].into_iter();
        let root = roots.find(is_there).ok_or("no systemd here; `cargo gate packages` gets one")?;
        let mut systemctl = Command::new(root.join("bin/systemctl"));
        let said = systemctl.arg("--version").env("LD_LIBRARY_PATH", libraries(&root)).output();
        let said = said.map_err(|error| format!("systemctl --version: {error}"))?.stdout;
        let version = String::from_utf8_lossy(&said).split_whitespace().nth(1).and_then(|text| text.parse().ok());
        Ok(Self { root, version: version.ok_or("systemctl does not say its version")? })
    }

    /// Whether its units can have their process in a leaf of the delegated part of the tree.
    #[must_use]
    pub fn has_leaves(&self) -> bool {
        self.version >= 254
    }

    /// Puts it into a machine, where it starts the machine's case.
    ///
    /// # Errors
    /// A file of it can't be read.
    pub fn install(&self, guest: &mut Guest) -> Result<(), String> {
        guest.managed_by(MANAGER);
        guest.directory("usr/lib");
        guest.directory("usr/lib64");
        guest.link("lib", "usr/lib");
        guest.link("lib64", "usr/lib64");
        let programs = [("lib/systemd/systemd", "usr/lib/systemd/systemd"), ("bin/systemctl", "usr/bin/systemctl")];
        for (from, to) in programs {
            let from = self.root.join(from);
            guest.file(to, 0o755, read(&from)?);
            for library in self.libraries_of(&from)? {
                let text = library.display().to_string();
                let place = text.strip_prefix(&self.root.display().to_string()).unwrap_or(&text);
                let place = place.trim_start_matches('/');
                // Of one tree, as on any host of today.
                let place = if place.starts_with("lib") { format!("usr/{place}") } else { place.to_owned() };
                guest.file(&place, 0o755, read(&library)?);
            }
        }
        for target in TARGETS {
            let name = format!("{target}.target");
            let unit = self.root.join("lib/systemd/system").join(&name);
            guest.file(&format!("{UNITS}/{name}"), 0o644, read(&unit)?);
        }
        guest.file("etc/machine-id", 0o444, "00112233445566778899aabbccddeeff\n");
        guest.file("etc/os-release", 0o644, "ID=guest\n");
        guest.file("etc/systemd/system.conf", 0o644, SETTINGS);
        guest.file("etc/systemd/system/case.service", 0o644, CASE);
        guest.link("etc/systemd/system/multi-user.target.wants/case.service", "../case.service");
        guest.link("etc/systemd/system/default.target", &format!("/{UNITS}/multi-user.target"));
        Ok(())
    }

    /// All libraries that a program loads.
    fn libraries_of(&self, program: &Path) -> Result<Vec<PathBuf>, String> {
        let output = Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", libraries(&self.root)).output();
        let output = output.map_err(|error| format!("ldd: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        match said.lines().find(|line| line.contains("not found")) {
            Some(line) => Err(format!("{}: {}", program.display(), line.trim())),
            None => Ok(said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()),
        }
    }
}

fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib/x86_64-linux-gnu/systemd")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}
