//! `drover deployment status`

use std::time::Duration;

use drover_api_client::QueryOptions;
use drover_model::time::parse_duration;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{deployment_list, monitor, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::deployment;
use crate::output::text::{id, quote};

/// How long one query waits when nothing else is said.
const WAIT: Duration = Duration::from_secs(2);

/// The command.
pub const COMMAND: Command = Command {
    path: "deployment status",
    summary: "Show a deployment",
    arguments: "[<deployment>]",
    about: "Shows a deployment; without an argument, all of them.",
    flags: &[
        switch("json", "JSON."),
        switch("monitor", "Show it at each change until it is done. Exit status 0 when it succeeded, else 1."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids; with -monitor the allocations, too."),
        text("wait", "duration", "With -monitor: one query waits at most this long. Default: 2s"),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    match call.flags.args.len() {
        0 => return deployment_list::run(call),
        1 => {}
        _ => return Err(Failure::Usage("This command takes one argument: <deployment>".to_owned())),
    }
    let wanted = call.arg(0).to_owned();
    show(call, &wanted)
}

/// Shows the deployment whose id begins so.
pub fn show(call: &mut Call, wanted: &str) -> Outcome {
    let client = call.client()?;
    let found = resolve::deployment(&client, wanted)?;
    let verbose = call.verbose();
    if call.flags.is_on("monitor") {
        if call.wants_data() {
            return fail("The monitor flag cannot be used with the '-json' or '-t' flags");
        }
        let wait = match call.flags.text("wait") {
            "" => WAIT,
            text => match parse_duration(text) {
                Some(wait) => wait,
                None => return fail(format!("invalid value {} for flag -wait: parse error", quote(text))),
            },
        };
        let short = id(&found.id, verbose);
        let now = call.ui.clock.now_text();
        call.ui.out(&format!("{now}: Monitoring deployment {}", quote(&short)));
        return monitor::deployment(call.ui, &client, &found.id, wait, verbose);
    }
    let answer = client.deployment(&found.id, &QueryOptions::default()).doing("retrieving deployment")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let bold = |title: &str| call.ui.bold(title);
    let text = deployment::deployment(&answer.value, verbose, &call.ui.clock, bold);
    call.ui.out(&text);
    Ok(0)
}
