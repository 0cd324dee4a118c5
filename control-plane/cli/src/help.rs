//! Help texts, made from the table of commands.

use crate::flags::{Flag, Kind};
use crate::grammar::{AGENT_FLAGS, COLOR_FLAGS, Command};

const WIDTH: usize = 80;

/// What drover can do.
pub fn root(commands: &[&'static Command]) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    for command in commands.iter().filter(|command| !command.is_hidden) {
        let (first, is_group) = match command.path.split_once(' ') {
            Some((group, _)) => (group, true),
            None => (command.path, false),
        };
        let summary = if is_group { group_summary(first).to_owned() } else { command.summary.to_owned() };
        if rows.iter().all(|(name, _)| name != first) {
            rows.push((first.to_owned(), summary));
        }
        for alias in command.aliases {
            rows.push(((*alias).to_owned(), format!("Short for \"{}\"", command.path)));
        }
    }
    rows.sort();
    format!(
        "Usage: drover <command> [flags] [arguments]\n\n\
         Commands:\n{}\n\n\
         \"drover <command> -h\" shows what a command does and the flags it takes.",
        columns(&rows)
    )
}

/// The commands of a group.
pub fn group(group: &str, commands: &[&'static Command]) -> String {
    let inside = commands.iter().filter_map(|command| {
        let rest = command.path.strip_prefix(group)?.strip_prefix(' ')?;
        Some(match rest.split_once(' ') {
            Some((subgroup, _)) => (subgroup.to_owned(), group_summary(&format!("{group} {subgroup}")).to_owned()),
            None => (rest.to_owned(), command.summary.to_owned()),
        })
    });
    let mut rows: Vec<(String, String)> = inside.collect();
    rows.sort();
    rows.dedup();
    format!(
        "Usage: drover {group} <subcommand> [flags] [arguments]\n\n{}.\n\nSubcommands:\n{}",
        group_summary(group),
        columns(&rows)
    )
}

fn group_summary(group: &str) -> &'static str {
    match group {
        "alloc" => "Look at allocations: where a group of tasks was placed",
        "deployment" => "Look at deployments: how a new version of a job is rolled out",
        "eval" => "Look at evaluations: why the scheduler looked at a job, and what came of it",
        "job" => "Run, change, stop and look at jobs",
        "job periodic" => "Launch periodic jobs",
        "job tag" => "Name versions of jobs",
        "namespace" => "Keep jobs apart, and say what they may use",
        "node" => "Look at nodes: the machines that run tasks",
        "node join-token" => "Let new clients join",
        "operator" => "Look after the region",
        "operator autopilot" => "How the leader looks after the region's servers",
        "operator raft" => "The servers that keep the region's log",
        "operator scheduler" => "How the scheduler places allocations",
        "operator snapshot" => "Keep copies of the region's state, and restore them",
        "server" => "Look at servers",
        "system" => "Look after the whole state",
        "system reconcile" => "Count anew",
        "server join-token" => "Let new servers join",
        _ => "More commands",
    }
}

/// How a command is used, and its flags.
pub fn command(command: &Command) -> String {
    let mut usage = format!("Usage: drover {} [flags]", command.path);
    if !command.arguments.is_empty() {
        usage.push(' ');
        usage.push_str(command.arguments);
    }
    if let Some(alias) = command.aliases.first() {
        usage.push_str(&format!("\nAlias: drover {alias}"));
    }
    let about = if command.about.is_empty() { command.summary } else { command.about };
    let mut text = format!("{usage}\n\n{}", wrap(about, 2));
    if !command.flags.is_empty() {
        text.push_str(&format!("\n\nFlags:\n\n{}", flags(command.flags)));
    }
    let general = if command.asks_agent { AGENT_FLAGS } else { COLOR_FLAGS };
    text.push_str(&format!("\n\nGeneral flags:\n\n{}", flags(general)));
    text
}

fn flags(flags: &[Flag]) -> String {
    let mut sorted: Vec<&Flag> = flags.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    let blocks = sorted.into_iter().map(|flag| {
        let value = match flag.kind {
            Kind::Bool => String::new(),
            Kind::Number => "=<number>".to_owned(),
            Kind::Text(word) | Kind::List(word) => format!("=<{word}>"),
        };
        format!("  -{}{value}\n{}", flag.name, wrap(flag.help, 6))
    });
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn columns(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows.iter().map(|(name, summary)| format!("  {name:width$}  {summary}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Lines of at most the usual width; an empty line keeps paragraphs apart.
fn wrap(text: &str, indent: usize) -> String {
    let blanks = " ".repeat(indent);
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let mut lines = vec![blanks.clone()];
        for word in paragraph.split_whitespace() {
            let line = lines.last().map_or(0, String::len);
            if line > indent && line + 1 + word.len() > WIDTH {
                lines.push(blanks.clone());
            }
            if let Some(line) = lines.last_mut() {
                if line.len() > indent {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}
