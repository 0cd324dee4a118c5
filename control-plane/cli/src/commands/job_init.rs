//! `drover job init`

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::call::{Call, Failure, Outcome, fail};
use crate::flags::switch;
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job init",
    aliases: &["init"],
    summary: "Write an example job file",
    arguments: "[<path>]",
    about: "Writes an example job that runs on a bare machine. The file is example.nomad.hcl unless another is named; \
            one that exists is left alone.",
    flags: &[switch("short", "Without explanations.")],
    asks_agent: false,
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let path = match call.flags.args.as_slice() {
        [] => drover_jobspec::init::FILE_NAME.to_owned(),
        [path] => path.clone(),
        _ => return Err(Failure::Usage("This command takes no arguments or one: <path>".to_owned())),
    };
    let text =
        if call.flags.is_on("short") { drover_jobspec::init::EXAMPLE_SHORT } else { drover_jobspec::init::EXAMPLE };
    let opened = OpenOptions::new().write(true).create_new(true).open(&path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    match written {
        Ok(()) => {
            call.ui.out(&format!("Example job file written to {path}"));
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fail(format!("File {} already exists", quote(&path))),
        Err(error) => fail(format!("Failed to write {}: {error}", quote(&path))),
    }
}
