//! Writes the payload of a dispatched job where its task reads it: a file below the task's `local` directory.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use drover_model::job::Job;
use drover_model::task::Task;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use crate::decide::actual::StartFailure;

/// Anybody may read and run it, as far as the process's mask lets them.
const FILE_MODE: u32 = 0o777;

/// Before the start.
pub fn prestart(local: &Path, job: &Job, task: &Task) -> Result<(), StartFailure> {
    let name = task.dispatch_payload.as_ref().and_then(|block| block["File"].as_str()).unwrap_or_default();
    let payload = job.payload.as_deref().unwrap_or_default();
    if name.is_empty() || payload.is_empty() {
        return Ok(());
    }
    let bytes = BASE64.decode(payload).map_err(|error| StartFailure::Setup(format!("dispatch payload: {error}")))?;
    write(local, Path::new(name), &bytes)
        .map_err(|error| StartFailure::Setup(format!("write the dispatch payload to {name:?}: {error}")))
}

/// Writes a file at a path that stays below `base`: a task that ran before may have put links there.
fn write(base: &Path, name: &Path, bytes: &[u8]) -> io::Result<()> {
    // A leading slash means `base`, as when paths are joined.
    let name: Vec<_> =
        name.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).collect();
    if !name.iter().all(|part| matches!(part, Component::Normal(_))) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads out of the task's directory"));
    }
    let Some((file, parents)) = name.split_last() else { return Err(io::ErrorKind::InvalidFilename.into()) };
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut dir = File::open(base)?;
    for parent in parents {
        match mkdirat(&dir, parent.as_os_str(), Mode::from_raw_mode(FILE_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        dir = openat2(&dir, parent.as_os_str(), flags, Mode::empty(), beneath)?.into();
    }
    // A pipe that a task left there must not hold the start up.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat2(&dir, file.as_os_str(), flags, Mode::from_raw_mode(FILE_MODE), beneath)?);
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dispatched(file: &str) -> (Job, Task) {
        let job = Job { payload: Some(BASE64.encode("cargo")), ..Job::default() };
        (job, Task { dispatch_payload: Some(json!({ "File": file })), ..Task::default() })
    }

    #[test]
    fn the_payload_stands_below_local() {
        for name in ["in.txt", "a/b/in.txt", "/in.txt", "./in.txt"] {
            let local = tempfile::tempdir().unwrap();
            let (job, task) = dispatched(name);
            // Also over what is there from a start before.
            for _ in 0..2 {
                prestart(local.path(), &job, &task).unwrap();
            }
            let path = local.path().join(name.trim_start_matches('/'));
            assert_eq!(std::fs::read_to_string(path).unwrap(), "cargo");
        }
    }

    #[test]
    fn nothing_to_write_is_no_failure() {
        let nowhere = Path::new("/nonexistent");
        let (job, task) = dispatched("in.txt");
        assert_eq!(prestart(nowhere, &Job::default(), &task), Ok(()));
        assert_eq!(prestart(nowhere, &job, &Task::default()), Ok(()));
    }

    #[test]
    fn no_path_and_no_link_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let local = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), local.path().join("link")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("new"), local.path().join("file")).unwrap();
        for name in ["../in.txt", "a/../../in.txt", "link/in.txt", "file", ".", "/"] {
            let (job, task) = dispatched(name);
            assert!(matches!(prestart(local.path(), &job, &task), Err(StartFailure::Setup(_))), "{name}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
