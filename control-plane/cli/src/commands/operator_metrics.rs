//! `drover operator metrics`

use std::io::Read;

use drover_api_client::QueryOptions;
use serde_json::Value;

use crate::call::{Call, Doing, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;

const PATH: &str = "/v1/metrics";
/// The longest answer that is read, in bytes.
const BYTES_MAX: u64 = 64 << 20;

/// The figures of an agent.
pub const COMMAND: Command = Command {
    path: "operator metrics",
    summary: "Show the figures of the agent that is asked",
    flags: &[
        switch("pretty", "JSON with line breaks."),
        text("format", "format", "Another form: prometheus."),
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    call.no_args()?;
    let client = call.client()?;
    if call.wants_data() {
        let summary = client.read::<Value>(PATH, &QueryOptions::default()).doing("querying metrics")?.value;
        return call.print_data(&summary);
    }
    let mut options = QueryOptions::default();
    for (name, value) in
        [("pretty", if call.flags.is_on("pretty") { "1" } else { "" }), ("format", call.flags.text("format"))]
    {
        if !value.is_empty() {
            options = options.with(name, value);
        }
    }
    let answer = client.stream(PATH, &options).doing("getting metrics")?;
    let mut bytes = Vec::new();
    if let Err(error) = answer.take(BYTES_MAX).read_to_end(&mut bytes) {
        return fail(format!("Error getting metrics: {error}"));
    }
    call.ui.out(&String::from_utf8_lossy(&bytes));
    Ok(0)
}
