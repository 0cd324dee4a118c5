//! Taking from this process all that unpacking does not need.

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, Signal, pivot_root, set_parent_process_death_signal, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// Memory that the child may map, in bytes: zstd's largest window, many times.
const MEMORY_MAX: u64 = 512 << 20;
/// Descriptors it may have open.
const FILES_MAX: u64 = 64;

/// What is left: owners, modes and file capabilities of what it writes.
fn kept() -> CapabilitySet {
    let mut kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    // From 5.8 on a whiteout is no device to the kernel and takes no right.
    if !is_kernel_from(5, 8) {
        kept |= CapabilitySet::MKNOD;
    }
    kept
}

fn is_kernel_from(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers =
        release.split(|letter: char| !letter.is_ascii_digit()).map(|text| text.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

/// Makes the current directory the root of a world without a network and leaves only few rights. The process must have one thread.
pub(super) fn confine(parent: u32, file_bytes_max: u64) -> Result<(), (&'static str, Errno)> {
    fn at(what: &'static str) -> impl FnOnce(Errno) -> (&'static str, Errno) {
        move |err| (what, err)
    }
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("parent's death"))?;
    // The parent may have died before that.
    if rustix::process::getppid().is_none_or(|now| now.as_raw_nonzero().get().cast_unsigned() != parent) {
        return Err(("parent", Errno::SRCH));
    }
    for (resource, max) in [
        (Resource::As, MEMORY_MAX),
        (Resource::Nofile, FILES_MAX),
        (Resource::Fsize, file_bytes_max.saturating_add(1)),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) }).map_err(at("limits"))?;
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    leave_the_host().map_err(at("namespaces"))?;
    enclose().map_err(at("root directory"))?;
    set_no_new_privs(true).map_err(at("no new privileges"))?;
    clear_ambient_capability_set().map_err(at("ambient capabilities"))?;
    let kept = kept();
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The kernel has no more of them.
            Err(Errno::INVAL) => break,
            Err(err) => return Err(("capabilities", err)),
        }
    }
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(at("capabilities"))
}

#[allow(unsafe_code)]
fn leave_the_host() -> Result<(), Errno> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWCGROUP;
    // SAFETY: descriptors stay shared with nobody: FILES is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

fn enclose() -> Result<(), Errno> {
    let here = rustix::process::getcwd(Vec::new())?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount_bind(&here, &here)?;
    // Into the new mount: the directory that was entered before lies below it.
    rustix::process::chdir(&here)?;
    mount_remount(".", MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC, "")?;
    match pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // The first root of a machine cannot be left; a changed root has to do.
        Err(Errno::INVAL) => rustix::process::chroot(".")?,
        Err(err) => return Err(err),
    }
    rustix::process::chdir("/")
}
