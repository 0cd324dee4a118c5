//! `drover job init`

mod templates;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use drover_api_client::query::escape;
use drover_api_client::{Client, QueryOptions};
use serde_json::Value;

use crate::call::{Call, Failure, Outcome, fail};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::text::quote;

/// The command.
pub const COMMAND: Command = Command {
    path: "job init",
    aliases: &["init"],
    summary: "Write an example job file",
    arguments: "[<filename>]",
    about: "Writes an example job that runs on a bare machine. The file is example.nomad.hcl unless another is named; \
            one that exists is left alone.\n\n\
            Other examples are chosen by -template. Beside those that drover has, there are those that a region keeps \
            as variables below nomad/job-templates/, in the item \"template\".",
    flags: &[
        switch("connect", "Services in a mesh."),
        switch("list-templates", "List the examples that there are, and write nothing."),
        switch("short", "Without explanations."),
        text("template", "name", "This example."),
    ],
    run,
    ..Command::BASE
};

/// Where a region keeps examples.
const VARIABLES: &str = "nomad/job-templates/";

fn run(call: &mut Call) -> Outcome {
    let path = match call.flags.args.as_slice() {
        [] => drover_jobspec::init::FILE_NAME.to_owned(),
        [path] => path.clone(),
        _ => {
            let usage = "This command takes either no arguments or one: <filename>";
            return Err(Failure::Usage(usage.to_owned()));
        }
    };
    if call.flags.is_on("list-templates") {
        return list(call);
    }
    let wanted = match call.flags.text("template") {
        "" if call.flags.is_on("connect") => templates::CONNECT.to_owned(),
        "" => String::new(),
        _ if call.flags.is_on("connect") => return fail("-connect and -template are mutually exclusive"),
        name => name.to_owned(),
    };
    if std::fs::symlink_metadata(&path).is_ok() {
        return fail(format!("Job '{path}' already exists"));
    }
    let is_short = call.flags.is_on("short");
    let text = match templates::text(&wanted) {
        Some(_) if wanted.is_empty() && is_short => drover_jobspec::init::EXAMPLE_SHORT.to_owned(),
        Some(text) if is_short => templates::without_comments(text),
        Some(text) => text.to_owned(),
        None => of_region(&call.client()?, &wanted)?,
    };
    let opened = OpenOptions::new().write(true).create_new(true).open(&path);
    match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => {
            call.ui.out(&format!("Example job file written to {path}"));
            Ok(0)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => fail(format!("Job '{path}' already exists")),
        Err(error) => fail(format!("Failed to write '{path}': {error}")),
    }
}

fn list(call: &mut Call) -> Outcome {
    call.ui.out("Use drover job init -template=<template> with any of the following:");
    for (name, about) in templates::names() {
        call.ui.out(&format!("  {name:14}  {about}"));
    }
    // An agent that is not there, or keeps no variables, has no examples.
    let Ok(client) = call.client() else { return Ok(0) };
    let Ok(found) = client.read::<Value>("/v1/vars", &QueryOptions::prefix(VARIABLES)) else { return Ok(0) };
    for variable in found.value.as_array().into_iter().flatten() {
        if let Some(name) = variable["Path"].as_str().and_then(|path| path.strip_prefix(VARIABLES)) {
            call.ui.out(&format!("  {name}"));
        }
    }
    Ok(0)
}

/// The example that the region keeps under that name.
fn of_region(client: &Client, name: &str) -> Result<String, Failure> {
    let path: Vec<String> = VARIABLES.split('/').filter(|part| !part.is_empty()).chain([name]).map(escape).collect();
    let answer = match client.read::<Value>(&format!("/v1/var/{}", path.join("/")), &QueryOptions::default()) {
        Ok(answer) => answer.value,
        Err(error) if error.status() == Some(404) || error.is_unanswered() => {
            return fail(format!("There is no job template {}. -list-templates shows which there are.", quote(name)));
        }
        Err(error) => return fail(format!("Error retrieving variable: {error}")),
    };
    match answer["Items"]["template"].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => fail(format!("Job template {} is malformed and is missing a template field.", quote(name))),
    }
}
