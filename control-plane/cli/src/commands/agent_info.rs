//! `drover agent-info`

use crate::call::{Call, Doing, Outcome};
use crate::flags::{switch, text};
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "agent-info",
    summary: "Show what the agent says of itself",
    flags: &[switch("json", "JSON."), text("t", "template", "The answer through a Go template.")],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let answer = call.client()?.agent_self().doing("querying agent info")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let mut lines = Vec::new();
    for (section, entries) in &answer.value.stats {
        lines.push(section.clone());
        lines.extend(entries.iter().map(|(key, value)| format!("  {key} = {value}")));
    }
    call.ui.out(&lines.join("\n"));
    Ok(0)
}
