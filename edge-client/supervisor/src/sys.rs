//! The few system calls that need `unsafe`, each behind a safe function.
//!
//! Why here and not through a crate: fork, exec and the identity of a process have no safe form anywhere, and signalfd is not in
//! rustix. They are sound because one thread of the supervisor does everything but logs (`fork` below states it): after a fork the child may
//! allocate and take locks: the one other thread, that of the logs, neither allocates nor takes any (`log_thread`).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::device_rules::Instruction;

/// Which side of a fork this is.
pub(crate) enum Forked {
    /// In the parent, with the child's pid.
    Parent(i32),
    /// In the child.
    Child,
}

/// How a process ended, as the kernel says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct RawExit {
    /// Exit code; 128 + signal when a signal ended it.
    pub(crate) code: i32,
    /// The signal, 0 when there was none.
    pub(crate) signal: i32,
}

/// Splits the process. Only for the supervisor's own loop (and its helper, which has one thread).
pub(crate) fn fork() -> io::Result<Forked> {
    // SAFETY: the process has one thread besides that of the logs, which neither allocates nor takes a lock. So the child's
    // copy of the heap and of all locks is consistent and it may run any code.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Splits the process with the child born in a cgroup (v2 only). Fails where the kernel or the layout does not have that.
pub(crate) fn fork_into(cgroup: &impl AsRawFd) -> io::Result<Forked> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
    let args: [u64; 11] = [CLONE_INTO_CGROUP, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, cgroup];
    // SAFETY: without CLONE_VM and without a stack this is a fork, and the same holds as in `fork`. The C library's own
    // bookkeeping (thread ids, atfork handlers) is skipped: the child uses none of it before exec.
    match unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => i32::try_from(pid).map(Forked::Parent).map_err(io::Error::other),
    }
}

/// Closes every descriptor from 3 on except those named. Only for a child that never touches the closed ones again.
pub(crate) fn close_all_but(keep: &mut [i32]) {
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.iter().copied().chain([i32::MAX]) {
        if from < fd {
            // SAFETY: what is closed belongs to the parent's values, which this child neither uses nor drops.
            unsafe { libc::syscall(libc::SYS_close_range, from as libc::c_uint, (fd - 1) as libc::c_uint, 0) };
        }
        from = fd.saturating_add(1);
    }
}

/// Ends the process without running destructors or exit handlers, which belong to the parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Replaces the process; returns only when that failed.
pub(crate) fn exec(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end in a null pointer and their strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Blocks the signals that the loop reads and returns the descriptor they are read from.
pub(crate) fn signal_fd() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used; the descriptor is new and owned by us.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The signal numbers in what was read from the descriptor of [`signal_fd`].
pub(crate) fn signals_in(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes.chunks_exact(size_of::<libc::signalfd_siginfo>()).filter_map(|record| {
        let number = record.get(..4)?;
        Some(u32::from_ne_bytes(number.try_into().ok()?))
    })
}

/// Puts every signal back to its default and unblocks all, for a process about to exec.
pub(crate) fn reset_signals() {
    // SAFETY: resetting dispositions and the mask has no memory effects; errors (SIGKILL, SIGSTOP, reserved ones) are harmless.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Takes on a user for good: groups first, since a plain user may not change them.
pub(crate) fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let check = |result: libc::c_int| {
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: `groups` is a valid array of that length; one thread, so the identity is that of the whole process.
    unsafe {
        check(libc::setgroups(groups.len(), groups.as_ptr()))?;
        check(libc::setresgid(gid, gid, gid))?;
        check(libc::setresuid(uid, uid, uid))
    }
}

/// Marks all descriptors from `first` on close-on-exec: some may have come from whoever started the agent.
pub(crate) fn close_on_exec_from(first: u32) {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: only the close-on-exec flag changes. A kernel before 5.11 answers with an error, which is harmless.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC) };
}

/// A child that has ended and is still to be reaped. Its pid stays taken until [`reap`].
pub(crate) fn peek_exited() -> Option<i32> {
    // SAFETY: siginfo_t is plain data and filled by the kernel; si_pid is valid after a successful waitid (0 when none).
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        match libc::waitid(libc::P_ALL, 0, &mut info, options) {
            0 => Some(info.si_pid()).filter(|pid| *pid > 0),
            _ => None,
        }
    }
}

/// Reaps one ended child.
pub(crate) fn reap(pid: i32) -> Option<RawExit> {
    let mut status: libc::c_int = 0;
    // SAFETY: `status` is a valid place for the answer.
    let reaped = unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) };
    if reaped != pid {
        return None;
    }
    Some(raw_exit(status))
}

/// What a status says as `wait` gives it.
pub(crate) fn raw_exit(status: libc::c_int) -> RawExit {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        RawExit { code: 128 + signal, signal }
    } else {
        RawExit { code: libc::WEXITSTATUS(status), signal: 0 }
    }
}

/// How a process ended that is no child of ours, by a descriptor of it; none before somebody has reaped it, and on kernels
/// before 6.15.
pub(crate) fn exit_of(pidfd: &impl AsRawFd) -> Option<RawExit> {
    /// `PIDFD_INFO_EXIT`
    const EXIT: u64 = 1 << 3;
    /// `PIDFD_GET_INFO`: read and write, 64 bytes, type 0xff, number 11.
    const GET_INFO: libc::c_ulong = 0xc040_ff0b;
    #[repr(C)]
    struct Info {
        mask: u64,
        cgroup_id: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const { assert!(size_of::<Info>() == 64) };
    let mut info = Info { mask: EXIT, cgroup_id: 0, ids: [0; 11], exit_code: 0 };
    // SAFETY: the structure has the size that the request's number says, and lives as long as the call.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), GET_INFO as _, &mut info) };
    (result == 0 && info.mask & EXIT != 0).then(|| raw_exit(info.exit_code))
}

/// Makes the terminal on standard input that of this session.
pub(crate) fn take_terminal() -> io::Result<()> {
    // SAFETY: the request has no memory effects.
    match unsafe { libc::ioctl(0, libc::TIOCSCTTY as _, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Leaves this process, and what it becomes, only the rights in `mask` (bit n is capability n), also as another user.
/// Without `may_gain` no program gives it more than it has.
pub(crate) fn limit_capabilities(mask: u64, may_gain: bool) {
    for capability in 0..64 {
        if mask & (1 << capability) == 0 {
            // SAFETY: prctl with numbers has no memory effects. One that the kernel does not know is refused.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as libc::c_ulong, 0, 0, 0) };
        }
    }
    // SAFETY: as above. The change of user would take the rights away otherwise.
    unsafe {
        libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0);
        if !may_gain {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
    }
}

/// After the change of user: takes the rights in `mask` on again where it `has_them`, so that they survive exec, also as
/// another user where they are `ambient`.
pub(crate) fn hold_capabilities(mask: u64, ambient: bool, has_them: bool) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let mask = if has_them { mask } else { 0 };
    let (low, high) = (mask as u32, (mask >> 32) as u32);
    let (inherited_low, inherited_high) = if ambient { (low, high) } else { (0, 0) };
    let header: [u32; 2] = [VERSION_3, 0];
    let data: [u32; 6] = [low, low, inherited_low, high, high, inherited_high];
    // SAFETY: header and data have the forms of version 3, for this thread, which is the only one.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    for capability in (0..64).filter(|capability| ambient && mask & (1 << capability) != 0) {
        // SAFETY: numbers only.
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability as libc::c_ulong, 0, 0) };
    }
    Ok(())
}

/// Gives this process a mount namespace of its own.
pub(crate) fn own_mounts() -> io::Result<()> {
    // SAFETY: unshare with this flag has no memory effects; the caller has one thread.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes a mount that stands nowhere, given by its descriptor, read-only.
pub(crate) fn make_read_only(tree: &impl AsRawFd) -> io::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    // struct mount_attr: attributes to set, to clear, propagation, user namespace.
    let attributes: [u64; 4] = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    // SAFETY: the path is an empty string, and the structure has the size that is said and outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the kernel check and hold a program that says who may use which device (cgroup v2).
pub(crate) fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    const LOAD: libc::c_int = 5;
    const OF_CGROUP_DEVICE: u64 = 15;
    // union bpf_attr: kind and count of instructions, the instructions, the licence; no log is wanted.
    let attributes: [u64; 6] = [
        OF_CGROUP_DEVICE | (program.len() as u64) << 32,
        program.as_ptr() as u64,
        c"Apache-2.0".as_ptr() as u64,
        0,
        0,
        0,
    ];
    // SAFETY: the kernel reads the structure, whose size is said, and what it points to; all of it outlives the call. The descriptor is
    // new and owned by us; it is closed by an exec.
    unsafe {
        match libc::syscall(libc::SYS_bpf, LOAD, attributes.as_ptr(), size_of_val(&attributes)) {
            -1 => Err(io::Error::last_os_error()),
            fd => i32::try_from(fd).map(|fd| OwnedFd::from_raw_fd(fd)).map_err(io::Error::other),
        }
    }
}

/// Has such a program asked for whoever is in that cgroup or below, besides those that are asked already.
pub(crate) fn attach_device_program(program: &OwnedFd, cgroup: &impl AsRawFd) -> io::Result<()> {
    const ATTACH: libc::c_int = 8;
    const AT_CGROUP_DEVICE: libc::c_int = 6;
    const BESIDE_OTHERS: libc::c_int = 2;
    let attributes = [cgroup.as_raw_fd(), program.as_raw_fd(), AT_CGROUP_DEVICE, BESIDE_OTHERS];
    // SAFETY: the kernel reads the structure, whose size is said and which outlives the call.
    match unsafe { libc::syscall(libc::SYS_bpf, ATTACH, attributes.as_ptr(), size_of_val(&attributes)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Joins a namespace by its file; `kind` is the flag of its kind.
pub(crate) fn join_namespace(file: &impl AsRawFd, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: setns has no memory effects; the caller has one thread.
    match unsafe { libc::setns(file.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets descriptors outlive the next exec, or not.
pub(crate) fn set_close_on_exec(fd: &impl AsRawFd, closes: bool) -> io::Result<()> {
    // SAFETY: only a flag of the descriptor changes.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, if closes { libc::FD_CLOEXEC } else { 0 }) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes over a descriptor that an earlier program of this process has left open; none when there is no such one.
pub(crate) fn inherited(fd: i32) -> Option<OwnedFd> {
    // SAFETY: asks only; a closed descriptor gives an error.
    if fd < 3 || unsafe { libc::fcntl(fd, libc::F_GETFD) } == -1 {
        return None;
    }
    // SAFETY: it is open, and nothing else in this process, which has just begun, knows its number.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set_close_on_exec(&fd, true).ok().map(|()| fd)
}

/// Sends a signal to a process (or, with a negative pid, to its group).
pub(crate) fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // 0 and -1 mean "many" to the kernel: never what we want.
    if pid == 0 || pid == -1 {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: kill has no memory effects.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to the process behind a descriptor.
pub(crate) fn signal_by(pidfd: &impl AsRawFd, signal: i32) -> io::Result<()> {
    // SAFETY: no information and no flags are passed; the call has no memory effects.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ticks per second in `/proc/<pid>/stat` and `cpuacct.stat`.
pub(crate) fn ticks_per_second() -> u64 {
    // SAFETY: sysconf has no preconditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

/// Whether a process, ended ones that nobody has reaped included, is a child of this one.
pub(crate) fn is_child(pid: i32) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else { return false };
    // SAFETY: siginfo_t is plain data, filled by the kernel.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

/// Takes a range off the map. Only for what is as in its file, which it is read from again where it is needed.
pub(crate) fn unmap_unchanged(range: std::ops::Range<usize>) {
    let start = std::ptr::with_exposed_provenance_mut(range.start);
    // SAFETY: nobody can write to the range and no page of it differs from the file, so that nothing is lost; addresses stay valid.
    unsafe {
        // A kernel that refuses leaves all as it is.
        libc::madvise(start, range.len(), libc::MADV_DONTNEED);
    }
}

/// Gives memory back to the kernel that was allocated and is free again.
pub(crate) fn give_back_free_memory() {
    // SAFETY: the allocator gives back only what nobody has.
    unsafe {
        libc::malloc_trim(0);
    }
}
