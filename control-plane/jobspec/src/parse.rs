//! Job text to the job in the API's shape, with null for what is not set.

use drover_hcl::{Block, Body, Inputs, Problem, Source};
use serde_json::{Map, Value};

use crate::decode::Decoder;
use crate::json_syntax;
use crate::shapes::group::GROUP;
use crate::shapes::job::JOB;

/// Parses a job file. Returns the job alone (what the API calls `Job`), or everything that is wrong with the text.
pub fn parse_hcl(source: &Source, inputs: &Inputs) -> Result<Value, Vec<Problem>> {
    if json_syntax::is_json(&source.text) {
        let native = json_syntax::written_out(source).map_err(|problem| vec![problem])?;
        return native_syntax(&native, inputs).map_err(|problems| json_syntax::placed(source, &native, problems));
    }
    native_syntax(source, inputs)
}

fn native_syntax(source: &Source, inputs: &Inputs) -> Result<Value, Vec<Problem>> {
    let body = drover_hcl::parse_job_file(source, inputs)?;
    decode(source, &body)
}

/// Decodes a file whose expressions are settled already.
pub fn decode(source: &Source, body: &Body) -> Result<Value, Vec<Problem>> {
    let mut decoder = Decoder::new(source);
    let block = only_job(source, body)?;
    let mut job = decoder.block(block, &JOB);
    if !decoder.problems.is_empty() {
        return Err(decoder.problems);
    }
    assemble(&mut job);
    Ok(Value::Object(job))
}

/// The blocks that a file may have.
pub(crate) const BLOCKS: [&str; 4] = ["variable", "variables", "locals", "job"];

/// The one `job` block of a file.
fn only_job<'b>(source: &Source, body: &'b Body) -> Result<&'b Block, Vec<Problem>> {
    let mut problems = Vec::new();
    for attribute in &body.attributes {
        problems.push(Problem::new(
            attribute.name_span,
            "Unsupported argument",
            format!("An argument named \"{}\" is not expected here.", attribute.name),
        ));
    }
    for block in body.blocks.iter().filter(|block| !BLOCKS.contains(&block.kind.as_str())) {
        let suggestion = crate::suggest::near(&block.kind, BLOCKS.into_iter());
        let suggestion = suggestion.map(|near| format!(" Did you mean \"{near}\"?")).unwrap_or_default();
        problems.push(Problem::new(
            block.kind_span,
            "Unsupported block type",
            format!("Blocks of type \"{}\" are not expected here.{suggestion}", block.kind),
        ));
    }
    let mut jobs = body.blocks_of("job");
    let first = jobs.next();
    if let (Some(first), Some(second)) = (first, jobs.next()) {
        problems.push(Problem::new(
            second.header_span,
            "Duplicate job block",
            format!(
                "Only one block of type \"job\" is allowed. Previous definition was at {}.",
                source.range(first.header_span)
            ),
        ));
    }
    match first {
        Some(job) if problems.is_empty() => Ok(job),
        Some(_) => Err(problems),
        None => {
            problems.push(Problem::nowhere("Missing job block", "A job block is required"));
            Err(problems)
        }
    }
}

/// What the tables can't say of a job: the label, tasks outside groups, blocks that are dealt out to the tasks.
fn assemble(job: &mut Map<String, Value>) {
    let label = job.remove("label").unwrap_or_default();
    for key in ["ID", "Name"] {
        if job[key].is_null() {
            job.insert(key.to_owned(), label.clone());
        }
    }
    let mut groups = Vec::new();
    for task in take_list(job, "task") {
        let mut group = GROUP.empty();
        group.insert("Name".to_owned(), task["Name"].clone());
        group.insert("Tasks".to_owned(), Value::Array(vec![task]));
        groups.push(Value::Object(group));
    }
    groups.extend(take_list(job, "TaskGroups"));
    let job_vault = job.remove("vault").unwrap_or_default();
    let job_secrets = take_list(job, "secret");
    for group in groups.iter_mut().filter_map(Value::as_object_mut) {
        let group_vault = group.remove("vault").unwrap_or_default();
        let group_secrets = take_list(group, "secret");
        let vault = if group_vault.is_null() { &job_vault } else { &group_vault };
        for task in tasks(group) {
            if task["Vault"].is_null() {
                task.insert("Vault".to_owned(), vault.clone());
            }
            let mut secrets = take_list(task, "Secrets");
            if secrets.is_empty() {
                secrets.extend(group_secrets.iter().cloned());
            } else if !group_secrets.is_empty() {
                // A task that has secrets of its own gets these twice instead of its group's, and is refused for that.
                secrets.extend(secrets.clone());
            }
            secrets.extend(job_secrets.iter().cloned());
            task.insert("Secrets".to_owned(), if secrets.is_empty() { Value::Null } else { Value::Array(secrets) });
        }
    }
    job.insert("TaskGroups".to_owned(), if groups.is_empty() { Value::Null } else { Value::Array(groups) });
}

fn tasks(group: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    group.get_mut("Tasks").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn take_list(body: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match body.remove(key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}
