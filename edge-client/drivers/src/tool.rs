//! Programs of the host that a driver stands on: where they are and what they say of themselves.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

/// How long a program may take to say its version.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// More of its words is not read, in bytes.
const WORDS_MAX: u64 = 16 << 10;
/// The time between two looks at whether it has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

/// The first executable file of that name on this process's search path.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// The names of all executable files on this process's search path that begin like that, without the beginning; sorted.
pub(crate) fn suffixes(prefix: &str) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found: Vec<String> = std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flat_map(|entries| entries.flatten())
        .filter_map(|entry| {
            let suffix = entry.file_name().to_str()?.strip_prefix(prefix)?.to_owned();
            is_executable(&entry.path()).then_some(suffix)
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

pub(crate) fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What a program answers, asked again only when its file has changed.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    known: Mutex<Option<Known>>,
}

/// The program, when its file last changed, and what it answered then.
type Known = (PathBuf, Option<SystemTime>, Option<String>);

impl Answer {
    /// Both outputs of the program with these arguments; none when it fails or takes too long.
    pub(crate) fn of(&self, program: &Path, args: &[&str]) -> Option<String> {
        let changed_at = std::fs::metadata(program).and_then(|meta| meta.modified()).ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, at, answer)) = &*known
            && asked == program
            && *at == changed_at
        {
            return answer.clone();
        }
        let answer = ask(program, args);
        *known = Some((program.to_owned(), changed_at, answer.clone()));
        answer
    }
}

fn ask(program: &Path, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let until = Instant::now() + ANSWER_MAX;
    // Its words fit into the pipes; one that writes more is ended with the time.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_PAUSE),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    if !status?.success() {
        return None;
    }
    let mut words = Vec::new();
    // A process that it has left behind may hold the pipes: only what is there already is read.
    let (stdout, stderr) = (child.stdout.take()?, child.stderr.take()?);
    rustix::io::ioctl_fionbio(&stdout, true).and_then(|()| rustix::io::ioctl_fionbio(&stderr, true)).ok()?;
    let _ = stdout.take(WORDS_MAX).read_to_end(&mut words);
    let _ = stderr.take(WORDS_MAX).read_to_end(&mut words);
    Some(String::from_utf8_lossy(&words).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_asked_once() {
        let answer = Answer::default();
        let first = answer.of(Path::new("/bin/sh"), &["-c", "echo $$; echo more >&2"]).unwrap();
        assert!(first.ends_with("more\n"), "{first}");
        assert_eq!(answer.of(Path::new("/bin/sh"), &["-c", "echo other"]), Some(first));
        assert_eq!(Answer::default().of(Path::new("/bin/sh"), &["-c", "exit 3"]), None);
        assert_eq!(Answer::default().of(Path::new("/no/such"), &[]), None);
    }
}
