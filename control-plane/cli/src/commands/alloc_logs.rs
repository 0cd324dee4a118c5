//! `drover alloc logs`

use std::io;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use drover_api_client::logs::{Frame, Frames, LogOrder};
use drover_api_client::{Client, QueryOptions};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::resolve;
use crate::flags::{number, switch, text};
use crate::grammar::Command;
use crate::output::text::{id, quote};
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc logs",
    aliases: &["logs"],
    summary: "Show what a task has written",
    arguments: "<allocation> [<task>]",
    about: "Shows the standard output of a task. The task may be left out where there is only one.",
    flags: &[
        number("c", "With -tail: begin so many bytes before the end."),
        switch("f", "Go on showing what is written."),
        text("group", "name", "With -job: an allocation of this group."),
        switch("job", "The argument is a job: show an allocation of it, one that runs if there is one."),
        number("n", "With -tail: begin so many lines before the end. Default: 10"),
        switch("stderr", "The standard error instead."),
        switch("stdout", "The standard output, which is the default."),
        switch("tail", "Only the end of what was written."),
        text("task", "name", "The task, in place of the second argument."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

/// Lines that `-tail` shows when nothing else is said.
const TAIL_LINES: usize = 10;
/// What is asked for per line at first; when it holds too few lines, more is asked for.
const BYTES_PER_LINE: u64 = 120;
/// More than this is not kept for counting lines.
const TAIL_BYTES_MAX: u64 = 64 << 20;
/// With -f -tail: when nothing has come for this long, what was there before has come.
const QUIET: Duration = Duration::from_millis(250);
/// With -f -tail: no waiting for quiet beyond this.
const QUIET_DEADLINE: Duration = Duration::from_secs(1);
/// Frames between the thread that reads and the one that prints.
const FRAMES_MAX: usize = 64;

/// Where the end of the output begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Lines(usize),
    Bytes(u64),
}

fn run(call: &mut Call) -> Outcome {
    if !matches!(call.flags.args.len(), 1 | 2) {
        return Err(Failure::Usage("This command takes one or two arguments".to_owned()));
    }
    if call.flags.is_on("stdout") && call.flags.is_on("stderr") {
        return fail("Unable to support both stdout and stderr");
    }
    let stream = if call.flags.is_on("stderr") { "stderr" } else { "stdout" };
    let client = call.client()?;
    let alloc_id = if call.flags.is_on("job") {
        alloc_of_job(call, &client)?
    } else {
        resolve::alloc(&client, call.arg(0), &call.ui.clock)?.one()?.id
    };
    let task = task(call, &client, &alloc_id)?;
    let follow = call.flags.is_on("f");
    let positive = |name: &str| call.flags.number(name).and_then(|count| u64::try_from(count).ok());
    let tail = call.flags.is_on("tail").then(|| match (positive("n"), positive("c")) {
        (Some(lines), _) => Tail::Lines(usize::try_from(lines).unwrap_or(usize::MAX)),
        (None, Some(bytes)) => Tail::Bytes(bytes),
        (None, None) => Tail::Lines(TAIL_LINES),
    });
    let logs = Logs { client: &client, alloc_id: &alloc_id, task: &task, stream };
    let shown = match (tail, follow) {
        (None, _) => logs.pass_on(call.ui, LogOrder { task: task.clone(), stream, follow, from_end: false, offset: 0 }),
        (Some(Tail::Bytes(offset)), _) => {
            logs.pass_on(call.ui, LogOrder { task: task.clone(), stream, follow, from_end: true, offset })
        }
        (Some(Tail::Lines(lines)), false) => logs.last_lines(call.ui, lines),
        (Some(Tail::Lines(lines)), true) => logs.follow_last_lines(call.ui, lines),
    };
    shown.map(|()| 0).map_err(|problem| Failure::Error(format!("Failed to read {stream} file: {problem}")))
}

/// An alloc of the job: one that runs before one that does not, the newest first.
pub fn alloc_of_job(call: &Call, client: &Client) -> Result<String, Failure> {
    let job = resolve::job(client, call.arg(0), &call.ui.clock)?;
    let scoped = client.scoped("", &job.namespace);
    let allocs = scoped.job_allocs(&job.id, true, &QueryOptions::default()).doing("querying job allocations")?.value;
    let group = call.flags.text("group");
    let mut candidates: Vec<_> =
        allocs.into_iter().filter(|alloc| group.is_empty() || alloc.task_group == group).collect();
    candidates.sort_by_key(|alloc| (alloc.client_status == "running", alloc.create_index));
    match candidates.pop() {
        Some(alloc) => Ok(alloc.id),
        None if group.is_empty() => {
            fail(format!("Error fetching allocations: No allocations for job {} found", quote(&job.id)))
        }
        None => fail(format!(
            "Error fetching allocations: No allocations for job {} and group {} found",
            quote(&job.id),
            quote(group)
        )),
    }
}

/// The task that is named, or the only one.
fn task(call: &Call, client: &Client, alloc_id: &str) -> Result<String, Failure> {
    let named = if call.flags.args.len() == 2 { call.arg(1) } else { call.flags.text("task") };
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let alloc = client.alloc(alloc_id, &QueryOptions::default()).doing("querying allocation")?.value;
    let group = alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group);
    let tasks: Vec<&str> =
        group.map(|group| group.tasks.iter().map(|task| task.name.as_str()).collect()).unwrap_or_default();
    match tasks.as_slice() {
        [only] => Ok((*only).to_owned()),
        several => {
            let list: String = several.iter().map(|task| format!("  * {task}\n")).collect();
            fail(format!(
                "Failed to validate task: Allocation {} is running the following tasks:\n{list}\nPlease specify the task.",
                quote(&id(alloc_id, call.verbose()))
            ))
        }
    }
}

struct Logs<'a> {
    client: &'a Client,
    alloc_id: &'a str,
    task: &'a str,
    stream: &'static str,
}

impl Logs<'_> {
    fn ask(&self, order: &LogOrder) -> Result<Frames, String> {
        self.client.logs(self.alloc_id, order).map_err(|error| format!("error reading file: {error}"))
    }

    fn counted_from_end(&self, offset: u64, follow: bool) -> LogOrder {
        LogOrder { task: self.task.to_owned(), stream: self.stream, follow, from_end: true, offset }
    }

    /// Everything as it comes.
    fn pass_on(&self, ui: &mut Ui, order: LogOrder) -> Result<(), String> {
        for frame in self.ask(&order)? {
            if !print(ui, &frame.map_err(|error| error.to_string())?) {
                break;
            }
        }
        Ok(())
    }

    /// The last lines of what is there.
    fn last_lines(&self, ui: &mut Ui, lines: usize) -> Result<(), String> {
        let mut offset = BYTES_PER_LINE.saturating_mul(lines as u64).clamp(BYTES_PER_LINE, TAIL_BYTES_MAX);
        loop {
            let mut text = Vec::new();
            for frame in self.ask(&self.counted_from_end(offset, false))? {
                text.extend(frame.map_err(|error| error.to_string())?.data);
            }
            let is_all = (text.len() as u64) < offset || offset >= TAIL_BYTES_MAX;
            if is_all || line_count(&text) > lines {
                ui.write(last_lines(&text, lines));
                return Ok(());
            }
            offset = offset.saturating_mul(8).min(TAIL_BYTES_MAX);
        }
    }

    /// The last lines of what is there, then everything as it comes. What is there has come when it grows quiet.
    fn follow_last_lines(&self, ui: &mut Ui, lines: usize) -> Result<(), String> {
        let offset = BYTES_PER_LINE.saturating_mul(lines as u64).clamp(BYTES_PER_LINE, TAIL_BYTES_MAX);
        let frames = self.ask(&self.counted_from_end(offset, true))?;
        let (sender, receiver) = sync_channel::<io::Result<Frame>>(FRAMES_MAX);
        // Ends with the answer, or with the process: nothing waits for it.
        thread::spawn(move || {
            for frame in frames {
                if sender.send(frame).is_err() {
                    return;
                }
            }
        });
        let mut before = Vec::new();
        let deadline = Instant::now() + QUIET_DEADLINE;
        let is_over = loop {
            match receiver.recv_timeout(QUIET.min(deadline.saturating_duration_since(Instant::now()))) {
                // A heartbeat comes when there is nothing else to send.
                Ok(frame) => match frame.map_err(|error| error.to_string())? {
                    frame if frame.data.is_empty() && frame.event.is_empty() => break false,
                    frame => before.extend(frame.data),
                },
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        if !ui.write(last_lines(&before, lines)) || is_over {
            return Ok(());
        }
        for frame in receiver {
            if !print(ui, &frame.map_err(|error| error.to_string())?) {
                break;
            }
        }
        Ok(())
    }
}

/// False when nobody reads any more.
fn print(ui: &mut Ui, frame: &Frame) -> bool {
    if !frame.event.is_empty() {
        ui.note(&format!("drover: {:?} has been {}", frame.file, frame.event.trim_start_matches("file ")));
    }
    frame.data.is_empty() || ui.write(&frame.data)
}

fn line_count(text: &[u8]) -> usize {
    let breaks = text.iter().filter(|byte| **byte == b'\n').count();
    breaks + usize::from(text.last().is_some_and(|byte| *byte != b'\n'))
}

/// The last lines; one without an end counts.
pub fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let skipped = line_count(text).saturating_sub(lines);
    if skipped == 0 {
        return text;
    }
    let breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let start = breaks.map(|(position, _)| position + 1).nth(skipped - 1).unwrap_or(0);
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_from_the_end() {
        let check = |text: &str, lines: usize, expected: &str| {
            assert_eq!(last_lines(text.as_bytes(), lines), expected.as_bytes());
        };
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc", 2, "b\nc");
        check("a\nb\n", 5, "a\nb\n");
        check("a\nb\n", 0, "");
        check("", 3, "");
    }
}
