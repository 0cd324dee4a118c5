//! `drover version`

use crate::call::{Call, Outcome};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command =
    Command { path: "version", summary: "Show the version of this program", asks_agent: false, run, ..Command::BASE };

fn run(call: &mut Call) -> Outcome {
    // Set by whoever builds a release.
    let revision = option_env!("DROVER_REVISION").unwrap_or("unknown");
    call.ui.out(&format!("Drover v{}\nRevision {revision}", env!("CARGO_PKG_VERSION")));
    Ok(0)
}
