//! Virtual machines for measurements: a disk whose boot sector says hello, and, where a kernel is given, one with a kernel.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::image;

/// What a guest says when it is up.
pub const HELLO: &str = "hello";
/// Names a guest's kernel (`vmlinuz-…`), for the measure that boots one.
pub const KERNEL_VARIABLE: &str = "DROVER_BENCH_KERNEL";

/// A directory with what the guests boot from.
pub struct Guest {
    dir: tempfile::TempDir,
    kernel: Option<PathBuf>,
}

impl Guest {
    /// Makes it; the kernel is the one of the environment, if any.
    ///
    /// # Errors
    /// There is no place for it, or a kernel and no busybox to boot.
    pub fn make() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("disk.img"), disk())?;
        let kernel = std::env::var_os(KERNEL_VARIABLE).map(PathBuf::from);
        if let Some(kernel) = &kernel {
            std::fs::metadata(kernel).with_context(|| format!("kernel {}", kernel.display()))?;
            std::fs::write(dir.path().join("initrd"), initramfs(&std::fs::read(image::busybox()?)?)?)?;
        }
        Ok(Self { dir, kernel })
    }

    /// A kernel is given.
    pub fn has_kernel(&self) -> bool {
        self.kernel.is_some()
    }

    /// What an agent has to be told to run it.
    pub fn settings(&self) -> String {
        format!(
            "plugin \"qemu\" {{\n  config {{\n    image_paths = [{:?}]\n  }}\n}}\n",
            self.dir.path().display().to_string()
        )
    }

    /// A task's `config`.
    pub fn config(&self, with_kernel: bool) -> Value {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut args: Vec<String> =
            ["-nodefaults", "-no-user-config", "-no-reboot", "-serial", "stdio"].map(str::to_owned).into();
        if let Some(kernel) = self.kernel.as_deref().filter(|_| with_kernel).map(Path::display) {
            let kernel = kernel.to_string();
            let words =
                ["-kernel", &kernel, "-initrd", &path("initrd"), "-append", "console=ttyS0 loglevel=1 panic=-1"];
            args.extend(words.map(str::to_owned));
        }
        json!({"image_path": path("disk.img"), "accelerator": "tcg", "args": args})
    }
}

/// A disk whose first sector says hello on the serial line and halts: `cli; (mov dx, 0x3f8; mov al, letter; out dx, al)…; hlt; jmp`.
fn disk() -> Vec<u8> {
    let mut disk = vec![0xfa];
    for letter in HELLO.bytes().chain([b'\n']) {
        disk.extend([0xba, 0xf8, 0x03, 0xb0, letter, 0xee]);
    }
    disk.extend([0xf4, 0xeb, 0xfd]);
    disk.resize(510, 0);
    disk.extend([0x55, 0xaa]);
    disk.resize(1 << 20, 0);
    disk
}

/// The machine's file tree, in the kernel's form ("newc").
fn initramfs(busybox: &[u8]) -> std::io::Result<Vec<u8>> {
    let init = format!("#!/bin/busybox sh\necho {HELLO}\nwhile :; do /bin/busybox sleep 3600; done\n");
    let mut archive = Vec::new();
    for (path, mode, content) in [
        ("bin", 0o040_755, &[][..]),
        ("dev", 0o040_755, &[]),
        ("bin/busybox", 0o100_755, busybox),
        ("init", 0o100_755, init.as_bytes()),
        ("TRAILER!!!", 0, &[]),
    ] {
        let sizes = [0, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        let head: String = sizes.iter().map(|field| format!("{field:08X}")).collect();
        write!(archive, "070701{head}{path}\0")?;
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    Ok(archive)
}
