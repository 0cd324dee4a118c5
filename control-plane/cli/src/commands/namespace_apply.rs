//! `drover namespace apply`

use std::io::Read;
use std::path::Path;

use drover_api_client::Client;
use drover_hcl::Source;
use drover_jobspec::namespace_spec::parse_namespace;
use serde_json::{Value, json};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "namespace apply",
    summary: "Make or change a namespace",
    arguments: "<input>",
    about: "Makes a namespace, or changes one that is there. <input> is a file, \"-\" for stdin, or else the name of the \
            namespace; with a name, the flags say what it becomes, and what they do not say stays as it is.",
    flags: &[
        text("description", "text", "With a name: what it is for."),
        switch("json", "The file is JSON, as the API takes it."),
        text("quota", "quota", "With a name: the quota it counts against."),
    ],
    run,
    ..Command::BASE
};

/// No file is read beyond this.
const FILE_BYTES_MAX: u64 = 1 << 20;

fn run(call: &mut Call) -> Outcome {
    let input = call.only_arg("<input>")?;
    let is_file = input == "-" || std::fs::metadata(&input).is_ok_and(|about| !about.is_dir());
    let client = call.client()?;
    let namespace = if is_file { of_file(call, &input)? } else { of_name(call, &client, &input)? };
    client.put_namespace(&namespace).doing("applying namespace")?;
    let name = namespace["Name"].as_str().unwrap_or_default();
    call.ui.out(&format!("Successfully applied namespace {}!", quote(name)));
    Ok(0)
}

fn of_name(call: &Call, client: &Client, name: &str) -> Result<Value, Failure> {
    if name.is_empty() {
        return fail("Namespace name required");
    }
    let mut namespace = match client.namespace(name) {
        Ok(answer) => answer.raw,
        Err(error) if error.status() == Some(404) => json!({ "Name": name }),
        Err(error) => return fail(format!("Error looking up namespace: {error}")),
    };
    for (flag, field) in [("description", "Description"), ("quota", "Quota")] {
        if !call.flags.texts(flag).is_empty() {
            namespace[field] = call.flags.text(flag).into();
        }
    }
    Ok(namespace)
}

fn of_file(call: &mut Call, path: &str) -> Result<Value, Failure> {
    if ["description", "quota"].iter().any(|flag| !call.flags.texts(flag).is_empty()) {
        call.ui.error("Flags are ignored when a file is specified!");
    }
    let text = match path {
        "-" => {
            text_of(&mut call.ui.stdin).map_err(|problem| Failure::Error(format!("Failed to read stdin: {problem}")))
        }
        _ => std::fs::File::open(Path::new(path))
            .map_err(|error| error.to_string())
            .and_then(|mut file| text_of(&mut file))
            .map_err(|problem| Failure::Error(format!("Failed to read file: {problem}"))),
    }?;
    if call.flags.is_on("json") {
        return match serde_json::from_str(&text) {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => fail("Failed to parse namespace: it is no JSON object"),
            Err(error) => fail(format!("Failed to parse namespace: {error}")),
        };
    }
    let source = Source::new(if path == "-" { "stdin" } else { path }, text);
    parse_namespace(&source).map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(|problem| problem.human(&source)).collect();
        Failure::Error(format!("Error parsing namespace specification: {}", texts.join("\n")))
    })
}

fn text_of(from: &mut dyn Read) -> Result<String, String> {
    let mut text = String::new();
    let size = from.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())? as u64;
    if size > FILE_BYTES_MAX { Err(format!("more than {FILE_BYTES_MAX} bytes")) } else { Ok(text) }
}
