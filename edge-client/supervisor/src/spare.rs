//! One process kept ready in a cgroup of its own, so that a start need not wait for the kernel.
//!
//! On cgroup v1 the first write to a `cgroup.procs` after a pause takes 7 to 8 ms (the kernel waits for a grace period), which is
//! most of a start. The spare has that behind it: a start renames its cgroup, sets the limits, and sends it the task. On v2 a
//! process is born in its cgroup instead (`sys::fork_into`), and no spare is kept.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::TaskCgroup;
use crate::cgroup_files::errno_text;
use crate::pass_fds;
use crate::protocol::{decode, encode};
use crate::report::{Report, report_pipe};
use crate::spawn::{Inherited, Program, Rights, Stdio, enter, fail};
use crate::spec::TaskSpec;
use crate::sys::{self, Forked};
use crate::users::User;

/// A larger order would not fit into the socket at once; such a task is started the slow way.
const ORDER_BYTES_MAX: usize = 64 << 10;

/// The spare process, not used yet.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) pid: i32,
    pub(crate) cgroup: TaskCgroup,
    pub(crate) report: Report,
    socket: UnixStream,
}

/// What the spare is to become.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    spec: TaskSpec,
    user: Option<User>,
}

impl Spare {
    /// Forks one into an empty cgroup.
    pub(crate) fn fork(cgroup: TaskCgroup, inherited: Inherited) -> Result<Spare, String> {
        let join = cgroup.entry()?.join;
        let text = |err: std::io::Error| errno_text(&err);
        let (socket, theirs) = UnixStream::pair().map_err(text)?;
        let (report, mut reporter) = report_pipe().map_err(text)?;
        match sys::fork().map_err(text)? {
            Forked::Parent(pid) => Ok(Spare { pid, cgroup, report, socket }),
            Forked::Child => {
                sys::reset_signals();
                // It may live long: it must hold nothing of others, the listening socket least of all.
                let mut keep: Vec<i32> = join.iter().map(AsRawFd::as_raw_fd).collect();
                keep.extend([theirs.as_raw_fd(), reporter.as_fd().as_raw_fd()]);
                sys::close_all_but(&mut keep);
                if let Err(err) = enter(&join) {
                    fail(&mut reporter, &format!("join the cgroup: {}", errno_text(&err)));
                }
                // The supervisor has gone, or wants no spare any more.
                let Some((order, stdio)) = receive(theirs) else { sys::exit_now(0) };
                match Program::find(&order.spec, order.user.as_ref()) {
                    Ok(program) => program.become_it(
                        &order.spec,
                        order.user.as_ref(),
                        &stdio,
                        inherited,
                        &Rights::default(),
                        &mut reporter,
                    ),
                    Err(text) => fail(&mut reporter, &text),
                }
            }
        }
    }

    /// Sends the task; false when it cannot be told.
    pub(crate) fn order(&self, order: &[u8], stdio: &Stdio) -> bool {
        let fds = [stdio.stdin.as_fd(), stdio.stdout.as_fd(), stdio.stderr.as_fd()];
        pass_fds::send(&self.socket, order, &fds, SendFlags::DONTWAIT).is_ok()
    }
}

/// A task as the bytes of [`Spare::order`]; none when it is too large for that way.
pub(crate) fn order_bytes(spec: &TaskSpec, user: Option<&User>) -> Option<Vec<u8>> {
    encode(&Order { spec: spec.clone(), user: user.cloned() }, ORDER_BYTES_MAX).ok()
}

/// In the spare: waits for its task. None when the other end is closed.
fn receive(mut socket: UnixStream) -> Option<(Order, Stdio)> {
    let mut chunk = [0; 4096];
    let mut fds = Vec::new();
    let first = pass_fds::receive(&socket, &mut chunk, &mut fds, RecvFlags::empty()).ok()?;
    let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(fds).ok()?;
    let mut buffer = chunk.get(..first)?.to_vec();
    loop {
        if let Some(order) = decode(&mut buffer, ORDER_BYTES_MAX).ok()? {
            return Some((order, Stdio { stdin, stdout, stderr }));
        }
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(length) => buffer.extend_from_slice(chunk.get(..length)?),
        }
    }
}
