//! A small virtual machine for jobs: Debian's kernel as the gate gets it, with busybox and a script.

use std::io::Write;
use std::path::{Path, PathBuf};

/// A kernel and the file tree of a machine that runs the script.
pub struct Guest {
    kernel: PathBuf,
    initrd: PathBuf,
    dir: PathBuf,
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The newest kernel that the gate got.
fn kernel() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let files = std::fs::read_dir(own.ancestors().nth(3)?.join("guest-kernel")).ok()?;
    let is_kernel =
        |file: &PathBuf| file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz-"));
    files.flatten().map(|entry| entry.path()).filter(is_kernel).max()
}

impl Guest {
    /// Makes `count` disks and the file tree in a directory. None where something is missing, said aloud.
    ///
    /// # Panics
    /// The directory takes no file.
    #[must_use]
    pub fn new(dir: &Path, script: &str, count: usize) -> Option<Self> {
        let (Some(kernel), Some(busybox), Some(_)) = (kernel(), program("busybox"), program("qemu-system-x86_64"))
        else {
            println!(
                "skipped: machines need qemu-system-x86_64, busybox and a kernel; `cargo gate packages` gets them"
            );
            return None;
        };
        let initrd = dir.join("initrd");
        std::fs::write(&initrd, initramfs(&busybox, script)).expect("the directory takes a file");
        for number in 0..count {
            std::fs::write(dir.join(format!("disk-{number}.img")), vec![0; 1 << 20])
                .expect("the directory takes a file");
        }
        Some(Self { kernel, initrd, dir: dir.to_owned() })
    }

    /// What an agent has to be told.
    pub fn plugin(&self) -> String {
        format!("plugin \"qemu\" {{\n  config {{\n    image_paths = [\"{}\"]\n  }}\n}}\n", self.dir.display())
    }

    /// The `config` of a task; each alloc of a group has a disk of its own.
    pub fn config(&self) -> String {
        format!(
            "      config {{\n        image_path = \"{}/disk-${{NOMAD_ALLOC_INDEX}}.img\"\n        args = [\"-nodefaults\", \
             \"-no-user-config\", \"-no-reboot\", \"-serial\", \"stdio\", \"-kernel\", \"{}\", \"-initrd\", \"{}\", \"-append\", \
             \"console=ttyS0 loglevel=1 panic=-1\"]\n      }}\n",
            self.dir.display(),
            self.kernel.display(),
            self.initrd.display()
        )
    }
}

/// The machine's file tree, in the kernel's form ("newc").
fn initramfs(busybox: &Path, script: &str) -> Vec<u8> {
    let init = format!(
        "#!/bin/busybox sh\n/bin/busybox mkdir -p /proc /dev\n/bin/busybox mount -t proc proc /proc\n\
         /bin/busybox mount -t devtmpfs dev /dev\n/bin/busybox --install -s /bin\nexport PATH=/bin\n{script}\n"
    );
    let busybox = std::fs::read(busybox).expect("busybox is readable");
    let mut archive = Vec::new();
    let mut entry = |path: &str, mode: usize, content: &[u8]| {
        let sizes = [0, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        let head: String = sizes.iter().map(|field| format!("{field:08X}")).collect();
        write!(archive, "070701{head}{path}\0").expect("memory takes everything");
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
