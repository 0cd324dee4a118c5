//! The supervisor's program file, where no task can change it.
//!
//! Some of what the supervisor forks goes into containers before it becomes their program, and a container's root can get hold of
//! that process's own file there (`/proc/<pid>/exe`; a script with that as its interpreter is enough). While the file is executed
//! nobody writes to it. But once agent and supervisor have ended, whoever has kept hold of it would write to the program that the
//! host runs next, as root.
//!
//! So the supervisor is executed from a read-only mount of that one file, which stands nowhere: to write by way of it is refused
//! for ever, and it goes with its last process. It costs no memory, as the pages are those of the file itself and shared with the
//! agent, where a sealed copy in memory would hold eleven megabytes that the kernel can't give up. Only a kernel that can't make
//! such a mount (before 5.12) gets the copy. Without root neither can be had; then no task is in a container.

use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, MemfdFlags, SealFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys;

/// A program file that can be executed by way of this and not be written to.
#[derive(Debug)]
pub(crate) struct OwnProgram(OwnedFd);

impl OwnProgram {
    /// Of that file. None where it can't be had.
    pub(crate) fn of(program: &Path) -> Option<OwnProgram> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        match mounted(program) {
            Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => copied(program).ok(),
            other => other.ok(),
        }
        .map(OwnProgram)
    }

    /// The path by which this process, and what it forks, executes it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// The same in the kernel's form.
    pub(crate) fn c_path(&self) -> Option<CString> {
        CString::new(format!("/proc/self/fd/{}", self.0.as_raw_fd())).ok()
    }
}

fn mounted(program: &Path) -> io::Result<OwnedFd> {
    let tree = open_tree(CWD, program, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    sys::make_read_only(&tree)?;
    Ok(tree)
}

fn copied(program: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut program = File::open(program)?;
    let mut copy = File::from(rustix::fs::memfd_create(copy_name(&program.metadata()?), flags)?);
    io::copy(&mut program, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    // What is open for writing can't be executed.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(File::open(path)?.into())
}

/// By its name it is known again.
fn copy_name(program: &Metadata) -> String {
    format!("drover-supervisor-{}-{}", program.dev(), program.ino())
}

/// Whether what a process executes, by its `exe` in `/proc`, is a copy in memory of that file.
pub fn is_copy_of(exe: &Path, program: &Path) -> bool {
    let name = std::fs::metadata(program).map(|program| format!("/memfd:{} (deleted)", copy_name(&program)));
    matches!((std::fs::read_link(exe), name), (Ok(exe), Ok(name)) if exe == Path::new(&name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_can_be_executed_can_not_be_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        std::fs::copy("/bin/true", &program).unwrap();
        let write = |path: &Path| File::options().write(true).open(path)?.write_all(b"\x7f");
        assert!(write(&program).is_ok(), "the file itself is not what refuses it");
        let copy = OwnProgram(copied(&program).unwrap());
        assert!(is_copy_of(&copy.path(), &program) && !is_copy_of(&copy.path(), Path::new("/bin/true")));
        let makers: [fn(&Path) -> io::Result<OwnedFd>; 2] = [mounted, copied];
        for make in makers {
            match make(&program) {
                Err(reason) if !rustix::process::geteuid().is_root() => println!("skipped: needs root: {reason}"),
                made => {
                    let own = OwnProgram(made.unwrap());
                    assert!(write(&own.path()).is_err());
                    // Another test that starts something at this moment has the file open for writing until its program runs.
                    let run = || std::process::Command::new(own.path()).status();
                    let is_busy = |ran: &io::Result<_>| {
                        ran.as_ref().is_err_and(|err: &io::Error| err.kind() == io::ErrorKind::ExecutableFileBusy)
                    };
                    let ran = std::iter::repeat_with(run).take(1000).find(|ran| !is_busy(ran));
                    assert!(ran.unwrap().unwrap().success());
                }
            }
        }
    }
}
