//! Job files: reading them, and what is said when one is wrong.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_api_client::jobs::Submission;
use drover_api_client::{Client, fetch};
use drover_hcl::{Place, Problem, Span};
use drover_jobspec::{FileError, Files, Inputs, Source};
use serde_json::{Value, json};

use crate::call::{Call, Failure, fail};
use crate::flags::{Flag, list, switch, text};
use crate::output::text::quote;

/// No job file is read beyond this.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What may stand before a text in UTF-8.
const BOM: &[u8] = &[0xef, 0xbb, 0xbf];
/// A job file on the web must be here by then.
const URL_PATIENCE: Duration = Duration::from_secs(60);
/// No more files than this are listed below one directory.
const WALK_FILES_MAX: usize = 10_000;

/// The flags of every command that reads a job file.
pub const FLAGS: [Flag; 5] = [
    switch("json", "The file is JSON, as the API takes it: {\"Job\": {…}} or the job alone."),
    switch("hcl2-strict", "Values for variables that the file does not declare are errors. Default: true"),
    list("var", "name=value", "A value for a variable of the file. May be repeated."),
    list("var-file", "path", "A file with values for variables of the file. May be repeated."),
    text("vault-namespace", "name", "The Vault namespace of the job, in place of the file's."),
];

/// A job as read from a file.
pub struct JobFile {
    /// The job as the API writes it, with null for what is unset.
    pub job: Value,
    /// What the server keeps so that people can ask for the text again.
    pub submission: Submission,
}

/// Reads the file that the command was given, `-` being stdin; `http://` and `https://` name one on the web.
pub fn read(call: &mut Call, path: &str) -> Result<JobFile, Failure> {
    let text = match path {
        "-" => {
            let mut bytes = Vec::new();
            let refuse = |what: String| wrong(format!("Error reading job file from stdin: {what}"));
            let read = (&mut call.ui.stdin).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
            match read.map_err(|error| refuse(error.to_string()))? as u64 {
                size if size > FILE_BYTES_MAX => return Err(refuse(format!("more than {FILE_BYTES_MAX} bytes"))),
                _ => utf8(path, bytes)?,
            }
        }
        url if url.starts_with("http://") || url.starts_with("https://") => {
            let refuse = |what: String| wrong(format!("Error getting jobfile from {}: {what}", quote(url)));
            fetch::text(url, FILE_BYTES_MAX, URL_PATIENCE).map_err(refuse)?
        }
        _ => {
            let from = |what| wrong(format!("Error getting jobfile from {}: source path error: {what}", quote(path)));
            utf8(path, bytes_of(Path::new(path)).map_err(from)?)?
        }
    };
    let mut file = if call.flags.is_on("json") { from_json(text)? } else { from_hcl(call, path, text)? };
    for (key, flag) in [("ConsulNamespace", "consul-namespace"), ("VaultNamespace", "vault-namespace")] {
        match call.flags.text(flag) {
            "" => {}
            name => file.job[key] = json!(name),
        }
    }
    // What the file says wins over flag and environment.
    for (key, value) in [("Namespace", &call.settings.namespace), ("Region", &call.settings.region)] {
        if file.job[key].as_str().unwrap_or_default().is_empty() && !value.is_empty() {
            file.job[key] = json!(value);
        }
    }
    Ok(file)
}

impl JobFile {
    /// The job's id.
    pub fn id(&self) -> &str {
        self.job["ID"].as_str().unwrap_or_default()
    }

    /// A client that asks for the job's own region and namespace.
    pub fn client(&self, client: &Client) -> Client {
        client
            .scoped(self.job["Region"].as_str().unwrap_or_default(), self.job["Namespace"].as_str().unwrap_or_default())
    }
}

fn wrong(text: String) -> Failure {
    Failure::Error(format!("Error getting job struct: {text}"))
}

/// Random bytes for the functions that need them; none when the operating system gives none.
fn seed() -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).ok().map(|()| seed)
}

/// What stands in a file, or why that can't be had.
fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let about = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("stat {}: no such file or directory", absolute.display()),
        std::io::ErrorKind::PermissionDenied => format!("stat {}: permission denied", absolute.display()),
        _ => format!("stat {}: {error}", absolute.display()),
    })?;
    if about.is_dir() {
        return Err(format!("{} is a directory", absolute.display()));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(format!("{} is larger than {FILE_BYTES_MAX} bytes", absolute.display()));
    }
    std::fs::read(path).map_err(|error| format!("read {}: {error}", absolute.display()))
}

/// The text of a file that may not be UTF-8, which is told with its place.
fn utf8(path: &str, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).or_else(|error| {
        let start = error.utf8_error().valid_up_to();
        let source = Source::new(path, String::from_utf8_lossy(error.as_bytes()));
        // A byte order mark is no part of the source's text.
        let start = if error.as_bytes().starts_with(BOM) { start.saturating_sub(BOM.len()) } else { start };
        let place = Span { start, end: start + char::REPLACEMENT_CHARACTER.len_utf8() };
        let detail = "All input files must be UTF-8 encoded. Ensure that UTF-8 encoding is selected in your editor.";
        let problem = Problem::new(place, "Invalid character encoding", detail);
        parse_failure(path, &source, &[problem])
    })
}

fn from_json(text: String) -> Result<JobFile, Failure> {
    let job =
        drover_jobspec::parse_json(&text).map_err(|problem| wrong(format!("Failed to parse JSON job: {problem}")))?;
    Ok(JobFile { job, submission: Submission { source: text, format: "json".to_owned(), ..Submission::default() } })
}

fn from_hcl(call: &Call, path: &str, text: String) -> Result<JobFile, Failure> {
    let mut var_flags = Vec::new();
    for flag in call.flags.texts("var") {
        match flag.split_once('=') {
            Some((name, value)) => var_flags.push((name.to_owned(), value.to_owned())),
            None => return Err(wrong(format!("Error parsing -var {}: it must be name=value", quote(flag)))),
        }
    }
    let mut var_files = Vec::new();
    for name in call.flags.texts("var-file") {
        let text = bytes_of(Path::new(name)).map_err(|what| {
            let unread = format!("<nil>: Failed to read file; failed to read {}: {what}", quote(name));
            wrong(format!("Error parsing job file from {path}:\nunable to parse var file: {unread}"))
        })?;
        var_files.push(Source::new(name.as_str(), utf8(name, text)?));
    }
    let submission = Submission {
        source: text.clone(),
        format: "hcl2".to_owned(),
        variable_flags: var_flags.iter().cloned().collect(),
        variables: var_files.iter().map(|file| file.text.as_str()).collect::<Vec<_>>().join("\n"),
    };
    let disk = Disk;
    let inputs = Inputs {
        var_flags,
        var_files,
        env: variables_of(&call.environment.0),
        is_strict: call.flags.is_on_or("hcl2-strict", true),
        files: Some(&disk),
        seed: seed(),
        ..Inputs::default()
    };
    let source = Source::new(path, text);
    match drover_jobspec::parse_hcl(&source, &inputs) {
        Ok(job) => Ok(JobFile { job, submission }),
        Err(problems) => parse_failure(path, &source, &problems),
    }
}

/// First what scripts look for, then each problem with its line and a caret.
fn parse_failure<T>(path: &str, source: &Source, problems: &[Problem]) -> Result<T, Failure> {
    let lines: Vec<String> = problems.iter().map(|problem| problem.one_line(source)).collect();
    let mut text = format!("Error parsing job file from {path}:\n{}", lines.join("\n"));
    let is_shown =
        |problem: &&Problem| matches!(problem.place, Place::At(_) | Place::Other { .. }) || problem.hint.is_some();
    for problem in problems.iter().filter(is_shown) {
        text.push_str(&format!("\n\n{}", problem.human(source)));
    }
    fail(format!("Error getting job struct: {text}"))
}

/// `DROVER_VAR_x` is taken as `NOMAD_VAR_x`, which job files know.
fn variables_of(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = environment
        .iter()
        .filter_map(|(name, value)| Some((format!("NOMAD_VAR_{}", name.strip_prefix("DROVER_VAR_")?), value.clone())));
    let mut variables = environment.clone();
    variables.extend(ours);
    variables
}

/// The files of this machine, for the functions that read files.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let about = std::fs::metadata(path).map_err(problem)?;
        if about.len() > FILE_BYTES_MAX {
            return Err(FileError::Other(format!("{path} is larger than {FILE_BYTES_MAX} bytes")));
        }
        std::fs::read(path).map_err(problem)
    }

    fn is_file(&self, path: &str) -> Result<bool, FileError> {
        match std::fs::metadata(path) {
            Ok(about) if about.is_file() => Ok(true),
            Ok(_) => Err(FileError::Other(format!("{path} is not a regular file, but {}", "something else"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(problem(error)),
        }
    }

    fn walk(&self, directory: &str) -> Result<Vec<String>, FileError> {
        let root = PathBuf::from(directory);
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(directory) = open.pop() {
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(problem(error)),
            };
            for entry in entries {
                let entry = entry.map_err(problem)?;
                let kind = entry.file_type().map_err(problem)?;
                // Links are not followed: they may lead round in circles.
                if kind.is_dir() {
                    open.push(entry.path());
                } else if kind.is_file() {
                    let path = entry.path();
                    let relative = path.strip_prefix(&root).unwrap_or(&path);
                    found.push(relative.to_string_lossy().into_owned());
                }
                if found.len() + open.len() > WALK_FILES_MAX {
                    return Err(FileError::Other(format!("more than {WALK_FILES_MAX} files")));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn absolute(&self, path: &str) -> String {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
        let mut clean = PathBuf::new();
        for part in absolute.components() {
            match part {
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                std::path::Component::CurDir => {}
                other => clean.push(other),
            }
        }
        clean.to_string_lossy().into_owned()
    }

    fn home(&self) -> Option<String> {
        std::env::var("HOME").ok().filter(|home| !home.is_empty())
    }
}

fn problem(error: std::io::Error) -> FileError {
    match error.kind() {
        std::io::ErrorKind::NotFound => FileError::NotFound,
        _ => FileError::Other(error.to_string()),
    }
}
