//! The difference of two versions of a job.
//!
//! Each line begins with its mark (`+`, `-`, `+/-` or none); names stand under each other, as far in as the widest mark
//! beside them asks for; each level is two blanks further in:
//!
//! ```text
//! +/- Job: "web"
//! +/- Task Group: "front" (1 canary, 2 ignore)
//!       Task: "side"
//!   +/- Task: "srv" (forces create/destroy update)
//!     +/- Config {
//!       +/- args[1]: "hello v1" => "hello v2"
//!           command: "/bin/sh"
//!         }
//! ```

use drover_api_client::plan::{FieldDiff, GroupDiff, JobDiff, ObjectDiff, TaskDiff};

use crate::output::text::quote;

const RESET: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const BLUE: &str = "\u{1b}[34m";
const CYAN: &str = "\u{1b}[36m";
const BRIGHT_YELLOW: &str = "\u{1b}[93m";

/// How a difference is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiffStyle {
    /// Marks and names in colour.
    pub color: bool,
    /// Fields of what is wholly new or gone, too.
    pub verbose: bool,
}

/// The whole difference, without a newline at its end.
pub fn job(diff: &JobDiff, style: DiffStyle) -> String {
    let mut lines = vec![format!("{}{}Job: {}", mark(&diff.kind, style), style.paint(BOLD), quote(&diff.id))];
    let inside = Inside::of(&diff.fields, &diff.objects, diff.task_groups.iter().map(|group| group.kind.as_str()));
    if shows_content(&diff.kind, style) {
        content(&mut lines, &diff.fields, &diff.objects, 0, inside.widest_mark, style);
    }
    let mut text = lines.join("\n");
    for (position, group_diff) in diff.task_groups.iter().enumerate() {
        text.push_str(if position == 0 { "\n" } else { "\n\n" });
        text.push_str(&group(group_diff, inside.widest_mark, style).join("\n"));
    }
    text.push_str(style.paint(RESET));
    text
}

fn group(diff: &GroupDiff, widest_mark: usize, style: DiffStyle) -> Vec<String> {
    let at = widest_mark - mark_width(&diff.kind);
    let reset = style.paint(RESET);
    let name = quote(&diff.name);
    let mut head = format!("{}{}{}Task Group: {name}{reset}", mark(&diff.kind, style), blanks(at), style.paint(BOLD));
    if diff.updates.is_empty() {
        head.push_str(reset);
    } else {
        let updates: Vec<String> = diff
            .updates
            .iter()
            .map(|(what, count)| format!("{}{count} {what}", style.paint(color_of_update(what))))
            .collect();
        head.push_str(&format!(" ({reset}{}{reset})", updates.join(&format!(", {reset}"))));
    }
    let mut lines = vec![head];
    let inside = Inside::of(&diff.fields, &diff.objects, diff.tasks.iter().map(|task| task.kind.as_str()));
    if shows_content(&diff.kind, style) {
        content(&mut lines, &diff.fields, &diff.objects, at + 2, inside.widest_mark, style);
    }
    for task_diff in &diff.tasks {
        task(&mut lines, task_diff, at + 2, inside.widest_mark, style);
    }
    lines
}

fn task(lines: &mut Vec<String>, diff: &TaskDiff, indent: usize, widest_mark: usize, style: DiffStyle) {
    let start = marked(&diff.kind, indent, widest_mark, style);
    let mut head = format!("{start}{}Task: {}", style.paint(BOLD), quote(&diff.name));
    if !diff.annotations.is_empty() {
        head.push_str(&format!(" {}({})", style.paint(RESET), annotations(&diff.annotations, style)));
    }
    lines.push(head);
    if shows_content(&diff.kind, style) {
        let inside = Inside::of(&diff.fields, &diff.objects, std::iter::empty());
        content(lines, &diff.fields, &diff.objects, indent + 2, inside.widest_mark, style);
    }
}

fn object(lines: &mut Vec<String>, diff: &ObjectDiff, indent: usize, widest_mark: usize, style: DiffStyle) {
    let at = indent + widest_mark - mark_width(&diff.kind);
    lines.push(format!("{}{} {{", marked(&diff.kind, indent, widest_mark, style), diff.name));
    let inside = Inside::of(&diff.fields, &diff.objects, std::iter::empty());
    content(lines, &diff.fields, &diff.objects, at + 2, inside.widest_mark, style);
    lines.push(format!("{}}}", blanks(at + mark_width(&diff.kind))));
}

fn content(
    lines: &mut Vec<String>,
    fields: &[FieldDiff],
    objects: &[ObjectDiff],
    indent: usize,
    widest_mark: usize,
    style: DiffStyle,
) {
    let widest_name = fields.iter().map(|field| field.name.chars().count()).max().unwrap_or(0);
    for diff in fields {
        let start = marked(&diff.kind, indent, widest_mark, style);
        let gap = blanks(widest_name - diff.name.chars().count() + 1);
        let values = match diff.kind.as_str() {
            "Added" => quote(&diff.new),
            "Edited" => format!("{} => {}", quote(&diff.old), quote(&diff.new)),
            _ => quote(&diff.old),
        };
        let mut line = format!("{start}{}:{gap}{values}", diff.name);
        if !diff.annotations.is_empty() {
            line.push_str(&format!(" ({})", annotations(&diff.annotations, style)));
        }
        lines.push(line);
    }
    for diff in objects {
        object(lines, diff, indent, widest_mark, style);
    }
}

fn annotations(annotations: &[String], style: DiffStyle) -> String {
    let painted = annotations.iter().map(|annotation| {
        let color = match annotation.as_str() {
            "forces create" => GREEN,
            "forces destroy" => RED,
            "forces in-place update" => CYAN,
            "forces create/destroy update" => YELLOW,
            _ => "",
        };
        format!("{}{annotation}{}", style.paint(color), style.paint(if color.is_empty() { "" } else { RESET }))
    });
    painted.collect::<Vec<_>>().join(", ")
}

fn color_of_update(update: &str) -> &'static str {
    match update {
        "create" => GREEN,
        "destroy" | "stop" => RED,
        "migrate" => BLUE,
        "in-place update" => CYAN,
        "create/destroy update" => YELLOW,
        "canary" => BRIGHT_YELLOW,
        _ => "",
    }
}

/// The widest mark among siblings decides where all of them begin.
struct Inside {
    widest_mark: usize,
}

impl Inside {
    fn of<'a>(fields: &'a [FieldDiff], objects: &'a [ObjectDiff], others: impl Iterator<Item = &'a str>) -> Self {
        let fields = fields.iter().map(|field| field.kind.as_str());
        let objects = objects.iter().map(|object| object.kind.as_str());
        Self { widest_mark: fields.chain(objects).chain(others).map(mark_width).max().unwrap_or(0) }
    }
}

/// What is wholly new or gone is one line, unless all is wanted.
fn shows_content(kind: &str, style: DiffStyle) -> bool {
    kind == "Edited" || style.verbose
}

fn sign(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "Added" => ("+", GREEN),
        "Deleted" => ("-", RED),
        "Edited" => ("+/-", BRIGHT_YELLOW),
        _ => ("", ""),
    }
}

fn mark_width(kind: &str) -> usize {
    match sign(kind).0.len() {
        0 => 0,
        length => length + 1,
    }
}

fn mark(kind: &str, style: DiffStyle) -> String {
    match sign(kind) {
        ("", _) => String::new(),
        (sign, color) => format!("{}{sign}{} ", style.paint(color), style.paint(RESET)),
    }
}

/// The beginning of a line up to its name.
fn marked(kind: &str, indent: usize, widest_mark: usize, style: DiffStyle) -> String {
    format!("{}{}{}", blanks(indent), mark(kind, style), blanks(widest_mark - mark_width(kind)))
}

fn blanks(count: usize) -> String {
    " ".repeat(count)
}

impl DiffStyle {
    fn paint(self, code: &'static str) -> &'static str {
        if self.color { code } else { "" }
    }
}
