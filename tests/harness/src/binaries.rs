//! Where the binaries under test are: beside the running test, as `cargo build` puts them.

use std::path::PathBuf;

/// The `drover` or `drover-edge` of the same build as the running test.
///
/// # Panics
/// It was not built: `cargo build -p drover-cli -p drover-edge-agent` does that (and `cargo gate` before its tests).
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not built: run cargo build -p drover-cli -p drover-edge-agent"))
}
