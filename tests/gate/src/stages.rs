//! What each stage does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::edge_size::Sizes;
use crate::{packages, programs, root};

/// What drover-edge's crates weighed when it was last recorded.
const EDGE_SIZES: &str = "tests/gate/edge-size.tsv";
/// The most bytes of drover-edge.
const EDGE_BYTES_MAX: u64 = 10 << 20;

/// Runs one stage.
pub fn run(stage: &str) -> Result<(), String> {
    match stage {
        "packages" => packages::install(),
        "format" => cargo(&["fmt", "--all", "--check"]),
        "clippy" => cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
        "docs" => run_command(
            cargo_command(&["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings"),
        ),
        "build" => cargo(&["build", "--quiet", "-p", "drover-cli", "-p", "drover-edge-agent"]),
        "test" => test(),
        "fuzz" => cargo(&["run", "--quiet", "--profile", "fuzz", "-p", "drover-fuzz", "--", "gate"]),
        "edge-static" => edge_static(),
        "parity" => parity(),
        other => Err(format!("the table names a stage that is not there: {other}")),
    }
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    run_command(&mut cargo_command(arguments))
}

fn run_command(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

fn test() -> Result<(), String> {
    let programs = programs::build(cargo_command(&[]), &root())?;
    programs::run(programs, &target()?.join("test-output"))
}

/// The folder of all that is built and kept between runs: the target's own, since the build names its target.
pub fn target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = own.ancestors().nth(2).ok_or("this program is not in a target folder")?;
    Ok(target.to_owned())
}

/// The folder of a profile's binaries.
fn binaries(profile: &str) -> Result<PathBuf, String> {
    Ok(target()?.join(profile))
}

fn edge_static() -> Result<(), String> {
    cargo(&["build", "--release", "--quiet", "-p", "drover-edge-agent"])?;
    let edge = binaries("release")?.join("drover-edge");
    let bytes = std::fs::metadata(&edge).map_err(|e| format!("{}: {e}", edge.display()))?.len();
    println!("drover-edge: {bytes} bytes ({:.1} MiB)", bytes as f64 / f64::from(1 << 20));
    tell_what_grew()?;
    if bytes > EDGE_BYTES_MAX {
        return Err(format!("over {EDGE_BYTES_MAX} bytes"));
    }
    let Ok(output) = Command::new("readelf").args(["-l", "-W"]).arg(&edge).output() else {
        println!("skipped: the proof that it is static (no readelf)");
        return Ok(());
    };
    let headers = String::from_utf8_lossy(&output.stdout);
    if !headers.contains("LOAD") {
        return Err("readelf shows no program headers".to_owned());
    }
    if headers.contains("INTERP") {
        return Err("it asks for an interpreter: it is not static".to_owned());
    }
    println!("static: no interpreter");
    Ok(())
}

/// Says which crates of drover-edge are larger or smaller than in the table that was recorded.
fn tell_what_grew() -> Result<(), String> {
    let built = binaries("release")?.join("build");
    let map = std::fs::read_dir(&built)
        .map_err(|e| format!("{}: {e}", built.display()))?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("drover-edge-agent-"))
        .map(|entry| entry.path().join("out/drover-edge.map"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    let Some((_, map)) = map else {
        println!("skipped: what grew (the linker wrote no map)");
        return Ok(());
    };
    let text = std::fs::read(&map).map_err(|e| format!("{}: {e}", map.display()))?;
    let Some(sizes) = Sizes::of_map(&String::from_utf8_lossy(&text)) else {
        println!("skipped: what grew (this linker's map is not of the form that rust-lld writes)");
        return Ok(());
    };
    let recorded = root().join(EDGE_SIZES);
    let earlier = std::fs::read_to_string(&recorded).map_err(|e| format!("{}: {e}", recorded.display()))?;
    let earlier = Sizes::of_table(&earlier).map_err(|e| format!("{}: {e}", recorded.display()))?;
    let now = target()?.join("edge-size.tsv");
    std::fs::write(&now, sizes.table()).map_err(|e| format!("{}: {e}", now.display()))?;
    println!("bytes by crate: {} (recorded: {EDGE_SIZES})", now.display());
    for change in sizes.changes_since(&earlier) {
        println!("{change}");
    }
    Ok(())
}

/// Counts routes, commands and flags against the recorded surface, where its counter is at hand.
fn parity() -> Result<(), String> {
    let counter =
        std::env::var_os("DROVER_PARITY").map_or_else(|| root().join("../shared/parity/parity.py"), PathBuf::from);
    if !Path::new(&counter).is_file() {
        println!("skipped: the counter is not there (DROVER_PARITY names it)");
        return Ok(());
    }
    run_command(Command::new("python3").arg(counter).arg("--bin").arg(binaries("debug")?.join("drover")))
}
