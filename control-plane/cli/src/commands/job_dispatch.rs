//! `drover job dispatch`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use drover_api_client::job_actions::Dispatch;
use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{job_status, monitor, resolve};
use crate::flags::{list, number, switch, text};
use crate::grammar::Command;
use crate::output::table::Fields;
use crate::output::text::id;
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "job dispatch",
    summary: "Launch a parameterized job",
    arguments: "<parameterized job> [<input source>]",
    about: "Launches an instance of a parameterized job, then follows its evaluation. The input source is a file whose \
            bytes are the payload; - is standard input.",
    flags: &[
        switch("detach", "Do not follow what happens."),
        text("id-prefix-template", "text", "Goes into the id of the instance."),
        text("idempotency-token", "token", "Given again, nothing more is launched."),
        list("meta", "key=value", "A value that the job wants. May be repeated."),
        number("priority", "The priority of the instance, in place of the job's."),
        switch("verbose", "Full ids."),
        switch("wait", "Follow the instance until it has ended, too. Exit status 2 when a task of it failed."),
    ],
    run,
    ..Command::BASE
};

/// No payload is read beyond this. Servers take less and say so.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
/// The longest one query waits.
const WAIT: Duration = Duration::from_secs(300);
/// Exit status of an instance with failed tasks.
const FAILED: i32 = 2;

fn run(call: &mut Call) -> Outcome {
    let (wanted, source) = match call.flags.args.as_slice() {
        [job] => (job.clone(), None),
        [job, source] => (job.clone(), Some(source.clone())),
        _ => {
            let usage = "This command takes one or two argument: <parameterized job> [input source]";
            return Err(Failure::Usage(usage.to_owned()));
        }
    };
    let payload = match source {
        Some(source) => payload(call.ui, &source)?,
        None => Vec::new(),
    };
    let mut meta = BTreeMap::new();
    for pair in call.flags.texts("meta") {
        match pair.split_once('=') {
            Some((key, value)) => meta.insert(key.to_owned(), value.to_owned()),
            None => return fail(format!("Error parsing meta value: {pair}")),
        };
    }
    let client = call.client()?;
    let is_meant = |job: &drover_api_client::jobs::JobStub| job.parent_id.is_empty() && job.parameterized_job;
    let job = resolve::job_of_kind(&client, wanted.trim(), &call.ui.clock, "parameterized job(s)", is_meant)?;
    let client = client.scoped("", &job.namespace);
    let dispatch = Dispatch {
        meta,
        payload,
        id_prefix_template: call.flags.text("id-prefix-template").to_owned(),
        priority: call.flags.number("priority").unwrap_or(0),
        idempotency_token: call.flags.text("idempotency-token").to_owned(),
    };
    let launched = client
        .dispatch_job(&job.id, &dispatch, &QueryOptions::default())
        .map_err(|error| Failure::Error(format!("Failed to dispatch job: {error}")))?
        .value;
    let verbose = call.verbose();
    let mut fields = Fields::new();
    fields.add("Dispatched Job ID", launched.dispatched_job_id.as_str());
    if !launched.eval_id.is_empty() {
        fields.add("Evaluation ID", id(&launched.eval_id, verbose));
    }
    call.ui.out(&fields.text());
    if call.flags.is_on("detach") || launched.eval_id.is_empty() {
        return Ok(0);
    }
    call.ui.out("");
    let status = monitor::eval(call.ui, &client, &launched.eval_id, verbose)?;
    if status != 0 || !call.flags.is_on("wait") {
        return Ok(status);
    }
    until_dead(call.ui, &client, &launched.dispatched_job_id)
}

fn payload(ui: &mut Ui, source: &str) -> Result<Vec<u8>, Failure> {
    let refuse = |what: String| Failure::Error(format!("Error reading input data: {what}"));
    let mut bytes = Vec::new();
    let read = if source == "-" {
        (&mut ui.stdin).take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        let file = File::open(source).map_err(|error| match error.kind() {
            ErrorKind::NotFound => refuse(format!("open {source}: no such file or directory")),
            ErrorKind::PermissionDenied => refuse(format!("open {source}: permission denied")),
            _ => refuse(format!("open {source}: {error}")),
        })?;
        file.take(PAYLOAD_BYTES_MAX + 1).read_to_end(&mut bytes)
    };
    read.map_err(|error| refuse(format!("read {source}: {error}")))?;
    if bytes.len() as u64 > PAYLOAD_BYTES_MAX {
        return Err(refuse(format!("{source} is larger than {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Shows where the allocs of the instance are, at each change, until it is dead.
fn until_dead(ui: &mut Ui, client: &Client, job_id: &str) -> Outcome {
    let mut index = 0;
    let mut shown = String::new();
    loop {
        let options = if index == 0 { QueryOptions::default() } else { QueryOptions::after(index, WAIT) };
        let summary = client.job_summary(job_id, &options).doing("querying job summary")?;
        index = if summary.meta.index < index { 0 } else { summary.meta.index.max(1) };
        let table = job_status::summary_table(&summary.value);
        if table != shown {
            let now = ui.clock.now_text();
            ui.out(&format!("\n{now}\n{table}"));
            shown = table;
        }
        let job = client.job(job_id, &QueryOptions::default()).doing("querying job")?.value;
        if job.status == "dead" {
            let has_failed = summary.value.summary.values().any(|group| group.failed > 0);
            return Ok(if has_failed { FAILED } else { 0 });
        }
    }
}
