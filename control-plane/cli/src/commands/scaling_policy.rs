//! `drover scaling policy list` and `info`

use drover_api_client::scaling::ScalingPolicy;
use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::json;
use crate::output::table::{Fields, table};
use crate::output::text::{id, quote};

/// `drover scaling policy list`
pub const LIST: Command = Command {
    path: "scaling policy list",
    summary: "List scaling policies: how far the counts of groups may be changed",
    flags: &[
        text("job", "job_id", "Only those of the job."),
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
        text("type", "type", "Only those of the type."),
        switch("verbose", "Full ids."),
    ],
    run: list,
    ..Command::BASE
};

/// `drover scaling policy info`
pub const INFO: Command = Command {
    path: "scaling policy info",
    summary: "Show a scaling policy",
    arguments: "<policy_id>",
    flags: &[
        switch("json", "JSON."),
        text("t", "template", "The answer through a Go template."),
        switch("verbose", "Full ids."),
    ],
    run: info,
    ..Command::BASE
};

fn list(call: &mut Call) -> Outcome {
    call.no_args()?;
    call.check_data_flags()?;
    let options =
        ["job", "type"].into_iter().fold(QueryOptions::default(), |options, name| match call.flags.text(name) {
            "" => options,
            wanted => options.with(name, wanted),
        });
    let answer = call.client()?.scaling_policies(&options).doing("listing scaling policies")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let text = shown(&answer.value, call.verbose());
    call.ui.out(&text);
    Ok(0)
}

fn info(call: &mut Call) -> Outcome {
    call.check_data_flags()?;
    let client = call.client()?;
    if call.flags.args.is_empty() && call.wants_data() {
        let answer = client.scaling_policies(&QueryOptions::default()).doing("listing scaling policies")?;
        return call.print_data(&answer.raw);
    }
    let [wanted] = call.flags.args.as_slice() else {
        let conditions = " * A single <policy_id>\n * No arguments, with output format specified";
        return Err(Failure::Usage(format!(
            "This command takes one of the following argument conditions:\n{conditions}"
        )));
    };
    let found = find(&client, wanted)?;
    let answer = client.scaling_policy(&found.id).doing("querying scaling policy")?;
    if call.wants_data() {
        return call.print_data(&answer.raw);
    }
    let policy = answer.value;
    let mut fields = Fields::new();
    fields
        .add("ID", id(&policy.id, call.verbose()))
        .add("Enabled", policy.enabled.to_string())
        .add("Target", target(&policy))
        .add("Min", policy.min.to_string())
        .add("Max", policy.max.to_string());
    let is_empty = policy.policy.as_object().is_none_or(serde_json::Map::is_empty);
    let inside = if is_empty { "<empty>".to_owned() } else { json::pretty(&policy.policy) };
    call.ui.out(&format!("{}\n\nPolicy:\n{inside}", fields.text()));
    Ok(0)
}

/// The policy whose id begins so.
fn find(client: &Client, wanted: &str) -> Result<ScalingPolicy, Failure> {
    let prefix = resolve::even(wanted)?;
    let mut found = client.scaling_policies(&QueryOptions::prefix(prefix)).doing("querying scaling policy")?.value;
    if let Some(exact) = found.iter().position(|policy| policy.id == wanted) {
        return Ok(found.swap_remove(exact));
    }
    match found.as_slice() {
        [] => {
            let nothing = format!("no scaling policies with prefix or ID {} found", quote(wanted));
            fail(format!("Error querying scaling policy: {nothing}"))
        }
        [only] => Ok(only.clone()),
        several => fail(format!("Prefix matched multiple scaling policies\n\n{}", shown(several, true))),
    }
}

fn shown(policies: &[ScalingPolicy], verbose: bool) -> String {
    if policies.is_empty() {
        return "No policies found".to_owned();
    }
    let mut policies: Vec<_> = policies.iter().map(|policy| (target(policy), policy)).collect();
    policies.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(target, policy): (String, &ScalingPolicy)| {
        vec![id(&policy.id, verbose), policy.enabled.to_string(), policy.kind.clone(), target]
    };
    let rows: Vec<Vec<String>> = policies.into_iter().map(row).collect();
    table(&["ID", "Enabled", "Type", "Target"], &rows)
}

/// `Namespace:default,Job:web,Group:front`; what else stands there follows.
fn target(policy: &ScalingPolicy) -> String {
    const FIRST: [&str; 4] = ["Namespace", "Job", "Group", "Task"];
    let first = FIRST.into_iter().filter_map(|key| policy.target.get_key_value(key));
    let rest = policy.target.iter().filter(|(key, _)| !FIRST.contains(&key.as_str()));
    first.chain(rest).map(|(key, value)| format!("{key}:{value}")).collect::<Vec<_>>().join(",")
}
