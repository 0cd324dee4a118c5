//! File functions, on the files that were handed in.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;

use super::{Answer, Context, Fault, Function, fixed, string, text_at};
use crate::files::{FileError, Files};
use crate::scope::TEXT_BYTES_MAX;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("abspath", &[string("path")], |a, context| Ok(enabled(context)?.absolute(text_at(a, 0)).into())),
    fixed("basename", &[string("path")], |a, context| {
        enabled(context)?;
        Ok(basename(text_at(a, 0)).into())
    }),
    fixed("dirname", &[string("path")], |a, context| {
        enabled(context)?;
        Ok(dirname(text_at(a, 0)).into())
    }),
    fixed("file", &[string("path")], |a, context| match String::from_utf8(read(enabled(context)?, text_at(a, 0))?) {
        Ok(text) => Ok(text.into()),
        Err(_) => Fault::call(format!(
            "contents of {} are not valid UTF-8; use the filebase64 function to obtain the Base64 encoded contents or the other file functions (e.g. filemd5, filesha256) to obtain file hashing results instead",
            text_at(a, 0)
        )),
    }),
    fixed("filebase64", &[string("path")], |a, context| {
        Ok(STANDARD.encode(read(enabled(context)?, text_at(a, 0))?).into())
    }),
    fixed("fileexists", &[string("path")], |a, context| {
        let path = expand(enabled(context)?, text_at(a, 0));
        match enabled(context)?.is_file(&path) {
            Ok(is_file) => Ok(is_file.into()),
            Err(FileError::NotFound) => Ok(false.into()),
            Err(FileError::Other(reason)) => Fault::call(reason),
        }
    }),
    fixed("fileset", &[string("path"), string("pattern")], |a, context| {
        fileset(enabled(context)?, text_at(a, 0), text_at(a, 1))
    }),
    fixed("pathexpand", &[string("path")], |a, context| Ok(expand(enabled(context)?, text_at(a, 0)).into())),
];

fn enabled<'a>(context: &Context<'a>) -> Result<&'a dyn Files, Fault> {
    context.files.ok_or_else(|| Fault::Call("filesystem function disabled".to_string()))
}

fn expand(files: &dyn Files, path: &str) -> String {
    match (path.strip_prefix('~'), files.home()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => path.to_string(),
    }
}

fn read(files: &dyn Files, path: &str) -> Result<Vec<u8>, Fault> {
    match files.read(&expand(files, path)) {
        Ok(bytes) if bytes.len() > TEXT_BYTES_MAX => {
            Fault::call(format!("{path} has more than {TEXT_BYTES_MAX} bytes"))
        }
        Ok(bytes) => Ok(bytes),
        Err(FileError::NotFound) => Fault::call(format!("no file exists at {path}")),
        Err(FileError::Other(reason)) => Fault::call(format!("failed to read {path}: {reason}")),
    }
}

fn basename(path: &str) -> String {
    if path.is_empty() {
        return ".".to_string();
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/".to_string(),
        Some(last) => last.to_string(),
    }
}

fn dirname(path: &str) -> String {
    let Some(slash) = path.rfind('/') else {
        return ".".to_string();
    };
    clean(&path[..=slash])
}

/// The shortest path of the same meaning: no `.`, no doubled slashes, no `..` that can be resolved.
fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_rooted => {}
            other => parts.push(other),
        }
    }
    match (is_rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_string(),
        (false, false) => parts.join("/"),
    }
}

fn fileset(files: &dyn Files, directory: &str, pattern: &str) -> Answer {
    let matcher = match Regex::new(&glob(pattern)) {
        Ok(matcher) => matcher,
        Err(_) => return Fault::call(format!("failed to glob pattern ({pattern}): syntax error in pattern")),
    };
    let mut found = match files.walk(&expand(files, directory)) {
        Ok(found) => found,
        Err(FileError::NotFound) => Vec::new(),
        Err(FileError::Other(reason)) => return Fault::call(reason),
    };
    found.retain(|path| matcher.is_match(path));
    Ok(crate::types::set_of(found.into_iter().map(Value::String)))
}

/// A glob as a search pattern: `*` and `?` within one part of a path, `**` over parts, `{a,b}`, `[a-z]`.
fn glob(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    let mut braces = 0;
    while let Some(c) = rest.chars().next() {
        let mut width = c.len_utf8();
        match c {
            '*' if rest.starts_with("**/") => {
                out.push_str("(?:.*/)?");
                width = 3;
            }
            '*' if rest.starts_with("**") => {
                out.push_str(".*");
                width = 2;
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' | ']' => out.push(c),
            '{' => {
                braces += 1;
                out.push_str("(?:");
            }
            '}' if braces > 0 => {
                braces -= 1;
                out.push(')');
            }
            ',' if braces > 0 => out.push('|'),
            _ => out.push_str(&regex::escape(&rest[..width])),
        }
        rest = &rest[width..];
    }
    out.push('$');
    out
}
