//! Unpacking a layer in a child that can reach nothing but the layer's directory.
//!
//! ```text
//! agent                                        child (`__unpack`, the same binary again)
//!   spawns it in temporary/<n>  ------------>    confine: own mounts and network, that directory as root, few rights
//!   stdin: the blob, checked                     decompress -> tar -> tree, every path resolved below root/
//!   waits, ends it when time is up     <------   one line of JSON: diff id, sizes, opaque directories, or what is wrong
//!   marks opaque directories (trusted.*)
//! ```

mod confine;
pub(crate) mod decompress;
mod entries;
mod tree;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, XattrFlags, fsetxattr, openat, openat2};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::PullError;
use crate::settings::Bounds;
use crate::watch::{LOOK, Watch};

/// First argument of a process that is to unpack.
const UNPACK_ARG: &str = "__unpack";
/// The longest report of a child, in bytes.
const REPORT_MAX: usize = 16 << 20;
/// The most directories of a layer that hide what is below them.
const OPAQUE_MAX: usize = 20_000;
/// The most bytes of their names together.
const OPAQUE_BYTES_MAX: usize = 8 << 20;

/// What a child may do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Options {
    /// Whose child it is.
    parent: u32,
    unpacked_bytes_max: u64,
    entries_max: u64,
}

/// What it says at its end.
#[derive(Debug, Serialize, Deserialize)]
enum Report {
    Done {
        unpacked: Unpacked,
        /// Paths in base64.
        opaque: Vec<String>,
    },
    Layer(String),
    /// An error number.
    Disk(i32),
}

/// A layer on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Unpacked {
    pub(crate) diff_id: Digest,
    pub(crate) bytes: u64,
    pub(crate) entries: u64,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The pull has ended.
    Ended(PullError),
    /// This side's fault.
    Disk(io::Error),
    /// The layer's.
    Layer(String),
}

/// Call this first in `main`: when the process was started to unpack a layer, it does that and never returns.
pub fn main_if_unpacker() {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == UNPACK_ARG) {
        let code = run_child(args.next());
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

fn run_child(options: Option<OsString>) -> ExitCode {
    let options = options.and_then(|text| serde_json::from_str(&text.to_string_lossy()).ok());
    let Some(options) = options else {
        let _ = writeln!(io::stderr(), "layers are unpacked by the agent, not by hand");
        return ExitCode::FAILURE;
    };
    let report = match unpack_here(&options) {
        Ok((unpacked, opaque)) => {
            Report::Done { unpacked, opaque: opaque.iter().map(|path| STANDARD.encode(path)).collect() }
        }
        Err(entries::Wrong::Layer(reason)) => Report::Layer(reason),
        Err(entries::Wrong::Disk(errno)) => Report::Disk(errno.raw_os_error()),
    };
    let text = serde_json::to_vec(&report).unwrap_or_default();
    if io::stdout().write_all(&text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn unpack_here(options: &Options) -> Result<(Unpacked, Vec<Vec<u8>>), entries::Wrong> {
    // Before anything of the layer is read.
    confine::confine(options.parent, options.unpacked_bytes_max)
        .map_err(|(what, err)| entries::Wrong::Layer(format!("the child can not be confined: {what}: {err}")))?;
    let blob = io::stdin().as_fd().try_clone_to_owned().map_err(|err| entries::Wrong::of(&err))?;
    entries::unpack(File::from(blob), options)
}

/// Unpacks `blob` into `place`/root. `place` holds two empty directories, `root` and `trash`.
pub(crate) fn unpack(place: &Path, blob: File, bounds: &Bounds, watch: &Watch) -> Result<Unpacked, Failure> {
    let options = Options {
        parent: std::process::id(),
        unpacked_bytes_max: bounds.unpacked_bytes_max,
        entries_max: bounds.entries_max,
    };
    let options = serde_json::to_string(&options).map_err(|err| Failure::Disk(err.into()))?;
    let mut child = Command::new("/proc/self/exe")
        .arg(UNPACK_ARG)
        .arg(options)
        .env_clear()
        .current_dir(place)
        .stdin(Stdio::from(blob))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Failure::Disk)?;
    let heard = hear(&mut child, watch);
    if heard.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().map_err(Failure::Disk)?;
    let text = heard?;
    match serde_json::from_slice(&text) {
        Ok(Report::Done { unpacked, opaque }) if status.success() => {
            mark_opaque(place, &opaque).map_err(Failure::Disk)?;
            Ok(unpacked)
        }
        Ok(Report::Layer(reason)) => Err(Failure::Layer(reason)),
        Ok(Report::Disk(errno)) => Err(Failure::Disk(io::Error::from_raw_os_error(errno))),
        _ => Err(Failure::Layer(how_it_died(status))),
    }
}

fn how_it_died(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        // SIGABRT: how Rust ends when there is no more memory.
        Some(6) => "it takes more memory than unpacking may use".to_owned(),
        Some(signal) => format!("signal {signal} ended the child that unpacked it"),
        None => format!("the child that unpacked it ended with {status}"),
    }
}

/// Reads what the child says until it ends, or the pull does.
fn hear(child: &mut Child, watch: &Watch) -> Result<Vec<u8>, Failure> {
    let mut said = Vec::new();
    let Some(mut stdout) = child.stdout.take() else { return Ok(said) };
    let look = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    let mut piece = [0; 8192];
    loop {
        watch.check().map_err(Failure::Ended)?;
        let mut polled = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut polled, Some(&look)) {
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(err) => return Err(Failure::Disk(err.into())),
        }
        match stdout.read(&mut piece) {
            Ok(0) => return Ok(said),
            Ok(count) => said.extend_from_slice(&piece[..count]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(Failure::Disk(err)),
        }
        if said.len() > REPORT_MAX {
            return Err(Failure::Layer("the report about it has no end".to_owned()));
        }
    }
}

/// Marks directories that hide what lower layers have there. The mark takes a right that the child does not have. The child has ended, and paths
/// are resolved below the layer's root, so a link leads nowhere else.
fn mark_opaque(place: &Path, opaque: &[String]) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root: OwnedFd = openat(CWD, place.join("root"), flags, Mode::empty())?;
    for path in opaque {
        let path = STANDARD.decode(path).map_err(io::Error::other)?;
        let path = if path.is_empty() { b".".to_vec() } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        match openat2(&root, path, flags, Mode::empty(), within) {
            Ok(dir) => fsetxattr(&dir, "trusted.overlay.opaque", b"y", XattrFlags::empty())?,
            // Something else came in its place later in the layer.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
