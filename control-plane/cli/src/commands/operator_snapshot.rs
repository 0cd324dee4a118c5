//! `drover operator snapshot save|restore`

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use drover_api_client::QueryOptions;
use drover_server::snapshots::{SNAPSHOT_BYTES_MAX, SnapshotInfo, State, check_snapshot, file_digest, read_snapshot};

use crate::call::{Call, Failure, Outcome, fail};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::quote;

/// Saving.
pub const SAVE: Command = Command {
    path: "operator snapshot save",
    summary: "Save the region's state to a file",
    arguments: "[<file>]",
    about: "Saves the state of the servers to a file: jobs, allocations, evaluations, deployments, nodes, namespaces, join \
            tokens as hashes. What is in it is as secret as the jobs are; the region's keys are not part of it.\n\n\
            Without a name the file is drover-state-<date>-<unix time>.snap in the working directory. A file that is there \
            already is never overwritten.",
    flags: &[switch("stale", "The server that is asked saves what it has, also without a leader.")],
    run: save,
    ..Command::BASE
};

/// Restoring.
pub const RESTORE: Command = Command {
    path: "operator snapshot restore",
    summary: "Put the state of a snapshot in the place of the region's",
    arguments: "<file>",
    about: "Puts the state of a snapshot in the place of the region's: what was written since is lost, what runs and is not in \
            it is stopped. The servers, their keys and the region's membership stay as they are, so a snapshot can be brought \
            into a new region. A file that is not whole is refused, and nothing is changed.",
    run: restore,
    ..Command::BASE
};

/// Bytes that are copied at once.
const PIECE_BYTES: usize = 256 << 10;

fn save(call: &mut Call) -> Outcome {
    let name = match call.flags.args.as_slice() {
        [] => {
            let now = call.ui.clock.now_nanos();
            let date: String = call.ui.clock.now_text().chars().take(10).filter(|c| *c != '-').collect();
            format!("drover-state-{date}-{}.snap", now / 1_000_000_000)
        }
        [name] => name.clone(),
        _ => return Err(Failure::Usage("This command takes either no arguments or one: <filename>".to_owned())),
    };
    let path = Path::new(&name);
    if path.symlink_metadata().is_ok() {
        return Err(Failure::Usage(format!("Destination file already exists: {}", quote(&name))));
    }
    let options = QueryOptions { stale: call.flags.is_on("stale"), ..QueryOptions::default() };
    let answer = call.client()?.save_snapshot(&options);
    let answer = answer.map_err(|error| Failure::Error(format!("Failed to get snapshot file: {error}")))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whole or not at all: it has its name when all of it was checked.
    let unwritten = |error: &dyn std::fmt::Display| Failure::Error(format!("Failed to create file: {error}"));
    let mut file = tempfile::Builder::new().prefix(".snapshot-").tempfile_in(directory).map_err(|e| unwritten(&e))?;
    let broken = |reason: String| Failure::Error(format!("Failed to download snapshot file: {reason}"));
    copy(answer.body, file.as_file_mut()).map_err(broken)?;
    let digest = file_digest(file.as_file()).map_err(|error| broken(error.to_string()))?;
    if answer.digest.as_deref() != Some(digest.as_slice()) {
        return Err(broken("it is not what the server has sent: its digest differs".to_owned()));
    }
    file.as_file().sync_all().map_err(|error| broken(error.to_string()))?;
    file.persist_noclobber(path)
        .map_err(|error| Failure::Error(format!("Failed to finalize snapshot file: {error}")))?;
    call.ui.out(&format!("State file written to {name}"));
    Ok(0)
}

fn copy(mut from: impl Read, to: &mut File) -> Result<(), String> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut copied = 0;
    loop {
        let len = from.read(&mut piece).map_err(|error| error.to_string())?;
        if len == 0 {
            return Ok(());
        }
        copied += len as u64;
        if copied > SNAPSHOT_BYTES_MAX {
            return Err(format!("more than {SNAPSHOT_BYTES_MAX} bytes"));
        }
        to.write_all(&piece[..len]).map_err(|error| error.to_string())?;
    }
}

fn restore(call: &mut Call) -> Outcome {
    let [name] = call.flags.args.as_slice() else {
        return Err(Failure::Usage("This command takes one argument: <filename>".to_owned()));
    };
    let unopened = |error: std::io::Error| Failure::Error(format!("Error opening snapshot file: {error}"));
    let file = File::open(name).map_err(unopened)?;
    let length = file.metadata().map_err(unopened)?.len();
    // What is wrong with the file is told before it is sent.
    let refused = |error: &dyn std::fmt::Display| Failure::Error(format!("Failed to restore snapshot: {error}"));
    check_snapshot(file.try_clone().map_err(unopened)?).map_err(|error| refused(&error))?;
    call.client()?.restore_snapshot(file, length, &QueryOptions::default()).map_err(|error| refused(&error))?;
    call.ui.out("Snapshot Restored");
    Ok(0)
}

/// Opens and reads the snapshot that is the one argument of a command.
pub fn read_argument(call: &Call) -> Result<(SnapshotInfo, State), Failure> {
    let [name] = call.flags.args.as_slice() else {
        return Err(Failure::Usage("This command takes one argument: <filename>".to_owned()));
    };
    let file = File::open(name).map_err(|error| Failure::Error(format!("Error opening snapshot file: {error}")))?;
    match read_snapshot(file) {
        Ok(read) => Ok(read),
        Err(error) => fail(format!("Error inspecting snapshot: {error}")),
    }
}
