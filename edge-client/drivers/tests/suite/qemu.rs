//! `qemu` under the suite: a machine with Debian's kernel and busybox, emulated (`cargo gate packages` gets them).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_drivers::{DriverSettings, TaskStart};
use serde_json::json;

use crate::subject::{Deed, Subject};

pub struct Qemu;

/// Ends the machine with a code of the emulator's own.
const EXIT_PORT: &str = "isa-debug-exit,iobase=0xf4,iosize=0x04";
const POWER_OFF: &str = "echo o >/proc/sysrq-trigger; while :; do sleep 1; done";

impl Subject for Qemu {
    fn driver(&self) -> &'static str {
        "qemu"
    }

    fn available(&self) -> Result<(), String> {
        if std::env::consts::ARCH != "x86_64" {
            return Err("the machine is an x86_64".to_owned());
        }
        for program in ["qemu-system-x86_64", "busybox"] {
            if program_path(program).is_none() {
                return Err(format!("no {program}"));
            }
        }
        kernel().map(drop).ok_or_else(|| "no kernel for a guest; `cargo gate packages` gets one".to_owned())
    }

    fn settings(&self, _: &Path) -> DriverSettings {
        DriverSettings::default()
    }

    fn prepare(&self, deed: Deed, start: &mut TaskStart) -> Option<()> {
        let script = match deed {
            Deed::Hello => format!("echo hello; {POWER_OFF}"),
            // That kernel reaches neither ports nor the power button without modules: these two boot from their disk.
            Deed::EndWith(_) | Deed::Wait => String::new(),
            Deed::Ignore => "echo ready; while :; do sleep 1; done".to_owned(),
            Deed::Count => "echo ready; n=0; while :; do echo line $n; n=$((n+1)); sleep 0.01; done".to_owned(),
            Deed::Hog | Deed::Probe => return None,
        };
        let local = start.dirs.task_dir.join("local");
        let mut disk = match deed {
            Deed::EndWith(code) => boot_sector(&end_with(code)),
            Deed::Wait => boot_sector(&wait()),
            _ => Vec::new(),
        };
        disk.resize(1 << 20, 0);
        std::fs::write(local.join("disk.img"), disk).unwrap();
        let initrd = local.join("initrd");
        std::fs::write(&initrd, initramfs(&script)).unwrap();
        start.config.insert("image_path".to_owned(), json!("local/disk.img"));
        start.config.insert("graceful_shutdown".to_owned(), json!(true));
        let kernel = kernel().unwrap();
        start.config.insert(
            "args".to_owned(),
            match script.as_str() {
                "" => json!(["-nodefaults", "-no-user-config", "-no-reboot", "-serial", "stdio", "-device", EXIT_PORT]),
                _ => json!([
                    "-nodefaults",
                    "-no-user-config",
                    "-no-reboot",
                    "-serial",
                    "stdio",
                    "-kernel",
                    kernel,
                    "-initrd",
                    initrd,
                    "-append",
                    "console=ttyS0 loglevel=1 panic=-1"
                ]),
            },
        );
        start.resources.memory.mib = 128;
        Some(())
    }

    fn has_exec(&self) -> bool {
        false
    }

    fn is_isolated(&self) -> bool {
        false
    }

    fn stop_signal(&self) -> i32 {
        2
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(300)
    }
}

fn program_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Names a kernel where the gate got none.
const KERNEL: &str = "DROVER_SUITE_KERNEL";

/// The newest kernel that the gate got.
fn kernel() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(KERNEL) {
        return Some(PathBuf::from(named));
    }
    let program = std::env::current_exe().ok()?;
    let files = std::fs::read_dir(program.ancestors().nth(3)?.join("guest-kernel")).ok()?;
    let is_kernel =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"));
    files.flatten().map(|entry| entry.path()).filter(is_kernel).max()
}

/// Machine code of the emulated processor, as its firmware starts it from a disk.
fn boot_sector(code: &[u8]) -> Vec<u8> {
    let mut sector = vec![0xfa]; // cli
    sector.extend_from_slice(code);
    sector.extend_from_slice(&[0xf4, 0xeb, 0xfd]); // hlt; jmp back
    assert!(sector.len() <= 510);
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    sector
}

/// `mov dx, port; mov ax, value; out dx, ax`
fn out_word(port: u16, value: u16) -> Vec<u8> {
    [&[0xba], &port.to_le_bytes()[..], &[0xb8], &value.to_le_bytes()[..], &[0xef]].concat()
}

/// `mov dx, port; mov al, value; out dx, al`
fn out_byte(port: u16, value: u8) -> Vec<u8> {
    [&[0xba], &port.to_le_bytes()[..], &[0xb0, value, 0xee]].concat()
}

fn say(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| out_byte(0x3f8, byte)).collect()
}

/// The emulator makes `2 n + 1` of it.
fn end_with(code: u8) -> Vec<u8> {
    out_byte(0xf4, (code - 1) / 2)
}

/// Waits for the power button, then turns the power off.
fn wait() -> Vec<u8> {
    let poll = [0xba, 0x00, 0x06, 0xed, 0xf6, 0xc4, 0x01, 0x74, 0xfa]; // mov dx, 0x600; in ax, dx; test ah, 1; jz back
    [out_word(0x602, 0x0100), say("ready\n"), poll.to_vec(), say("bye\n"), out_word(0x604, 0x2000)].concat()
}

/// The machine's file tree, in the kernel's form ("newc").
fn initramfs(script: &str) -> Vec<u8> {
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox mkdir -p /proc /dev\n/bin/busybox mount -t proc proc /proc\n\
         /bin/busybox mount -t devtmpfs dev /dev\n/bin/busybox --install -s /bin\nexport PATH=/bin\n{script}\n"
    );
    let busybox = std::fs::read(program_path("busybox").unwrap()).unwrap();
    let mut archive = Vec::new();
    let mut entry = |path: &str, mode: usize, content: &[u8]| {
        let sizes = [0, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        let head: String = sizes.iter().map(|field| format!("{field:08X}")).collect();
        write!(archive, "070701{head}{path}\0").unwrap();
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    entry("bin", 0o040_755, b"");
    entry("bin/busybox", 0o100_755, &busybox);
    entry("init", 0o100_755, init.as_bytes());
    entry("TRAILER!!!", 0, b"");
    archive
}
