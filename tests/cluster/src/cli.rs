//! The `drover` command line, as people use it.

use std::path::Path;
use std::process::{Command, Output};

use drover_harness::binaries::binary;
use drover_harness::output::output;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs `drover` against the agent at `address`, in `dir`.
///
/// # Panics
/// It can't be run, or does not end.
pub fn drover(address: &str, dir: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(binary("drover"));
    command.args(args).current_dir(dir).env("DROVER_ADDR", address);
    for name in ["NOMAD_ADDR", "DROVER_NAMESPACE", "NOMAD_NAMESPACE", "DROVER_REGION", "NOMAD_REGION"] {
        command.env_remove(name);
    }
    said(output(&mut command))
}

/// The same, where it must succeed.
///
/// # Panics
/// It does not.
pub fn drover_ok(address: &str, dir: &Path, args: &[&str]) -> String {
    let said = drover(address, dir, args);
    assert_eq!(said.code, 0, "drover {args:?}: {said:#?}");
    said.stdout
}

/// What a finished process said.
pub fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
