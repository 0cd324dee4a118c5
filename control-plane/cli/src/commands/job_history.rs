//! `drover job history`

use drover_api_client::QueryOptions;
use drover_api_client::jobs::{Job, JobVersions};
use drover_api_client::plan::JobDiff;
use serde_json::Value;

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::diff::{self, DiffStyle};
use crate::output::json;
use crate::output::table::Fields;
use crate::output::time::Clock;

/// The command.
pub const COMMAND: Command = Command {
    path: "job history",
    summary: "List the versions of a job, newest first",
    arguments: "<job>",
    flags: &[
        text("diff-tag", "tag", "With -p: how each differs from the version of this tag."),
        text("diff-version", "version", "With -p: how each differs from this version."),
        switch("full", "Each version whole, as JSON."),
        switch("json", "JSON."),
        switch("p", "How each differs from the one before it."),
        text("t", "template", "The answer through a Go template."),
        text("version", "version", "Only this version."),
    ],
    run,
    ..Command::BASE
};

fn run(call: &mut Call) -> Outcome {
    let wanted = call.only_arg("<job>")?;
    call.check_data_flags()?;
    let with_diff = call.flags.is_on("p");
    if call.wants_data() && (with_diff || call.flags.is_on("full")) {
        return fail("-json and -t are exclusive with -p and -full");
    }
    let diff_tag = call.flags.text("diff-tag").to_owned();
    let diff_version = version_flag(call, "diff-version")?;
    if (diff_version.is_some() || !diff_tag.is_empty()) && !with_diff {
        return fail("-diff-tag and -diff-version can only be used with -p");
    }
    if diff_version.is_some() && !diff_tag.is_empty() {
        return fail("-diff-tag and -diff-version are mutually exclusive");
    }
    let only = version_flag(call, "version")?;
    let client = call.client()?;
    let job = resolve::job(&client, &wanted, &call.ui.clock)?;
    let mut options = QueryOptions::default();
    if with_diff {
        options = options.with("diffs", "true");
    }
    if let Some(version) = diff_version {
        options = options.with("diff_version", version.to_string());
    }
    if !diff_tag.is_empty() {
        options = options.with("diff_tag", diff_tag);
    }
    let answer = client.scoped("", &job.namespace).job_versions(&job.id, &options).doing("retrieving job versions")?;
    let versions = answer.value;
    let raw: Vec<&Value> = answer.raw["Versions"].as_array().map(|raw| raw.iter().collect()).unwrap_or_default();
    let chosen: Vec<usize> = (0..versions.versions.len())
        .filter(|position| only.is_none_or(|version| versions.versions[*position].version == version))
        .collect();
    if chosen.is_empty() {
        return fail("Error printing job history for non-existing job or job version");
    }
    if call.wants_data() {
        let data = match (only, chosen.first().and_then(|position| raw.get(*position))) {
            (Some(_), Some(one)) => (*one).clone(),
            _ => answer.raw["Versions"].clone(),
        };
        return call.print_data(&data);
    }
    let style = DiffStyle { color: call.ui.color.marks, verbose: call.flags.is_on("full") };
    let full = call.flags.is_on("full");
    let blocks = chosen.into_iter().map(|position| {
        let whole = raw.get(position).copied().filter(|_| full);
        block(&versions, position, whole, with_diff, style, &call.ui.clock)
    });
    let text = blocks.collect::<Vec<_>>().join("\n\n");
    call.ui.out(&text);
    Ok(0)
}

fn version_flag(call: &Call, name: &str) -> Result<Option<u64>, Failure> {
    match call.flags.text(name) {
        "" => Ok(None),
        text => match text.parse() {
            Ok(version) => Ok(Some(version)),
            Err(_) => fail(format!("Error parsing {name} value {text:?}: it must be a number, 0 or greater")),
        },
    }
}

fn block(
    versions: &JobVersions,
    position: usize,
    whole: Option<&Value>,
    with_diff: bool,
    style: DiffStyle,
    clock: &Clock,
) -> String {
    let job = &versions.versions[position];
    let mut fields = fields_of(job, clock);
    let mut text = String::new();
    // The oldest version has nothing to differ from, and what others are held against does not differ from itself.
    let differs = |diff: &&JobDiff| with_diff && !matches!(diff.kind.as_str(), "" | "None");
    if let Some(job_diff) = versions.diffs.get(position).filter(differs) {
        fields.add_raw("Diff", "");
        text = format!("\n{}", diff::job(job_diff, style));
    }
    if let Some(whole) = whole {
        fields.add_raw("Full", "JSON Job:");
        text.push_str(&format!("\n{}", json::pretty(whole)));
    }
    format!("{}{text}", fields.text())
}

fn fields_of(job: &Job, clock: &Clock) -> Fields {
    let mut fields = Fields::new();
    fields
        .add("Version", job.version.to_string())
        .add("Stable", job.stable.to_string())
        .add("Submit Date", clock.absolute(job.submit_time));
    if let Some(tag) = job.version_tag.as_ref().filter(|tag| !tag.name.is_empty()) {
        fields.add("Tag Name", tag.name.as_str());
        if !tag.description.is_empty() {
            fields.add("Tag Description", tag.description.as_str());
        }
    }
    fields
}
