//! `drover alloc exec`

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use drover_api_client::allocs::Alloc;
use drover_api_client::exec::{Exec, ExecOrder, Heard};
use drover_api_client::{Client, QueryOptions};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::call::{Call, Doing, Failure, Outcome, fail};
use crate::commands::{alloc_logs, resolve};
use crate::flags::{switch, text};
use crate::grammar::Command;
use crate::output::text::{id, quote};

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc exec",
    aliases: &["exec"],
    summary: "Run a command in a task",
    arguments: "<allocation> <command> [<argument>…]",
    about: "Runs a command inside a running task and ends with its exit status. With a terminal here it gets one there.",
    flags: &[
        text("e", "character", "With a terminal: what begins an escape (`~.` ends the session), or none. Default: ~"),
        text("group", "name", "With -job: an allocation of this group."),
        switch("i", "Hand standard input on, which is the default."),
        switch("job", "The argument is a job: an allocation of it, one that runs if there is one."),
        switch("t", "A terminal for the command. Default: where input and output are terminals"),
        text("task", "name", "The task. It may be left out where there is only one."),
    ],
    run,
    ..Command::BASE
};

/// A sign of life is due after this time.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often the size of the terminal is looked at.
const SIZE_LOOK: Duration = Duration::from_millis(250);

fn run(call: &mut Call) -> Outcome {
    let escape = match call.flags.text("e") {
        "" => Some('~'),
        "none" => None,
        one if one.chars().count() == 1 => one.chars().next(),
        _ => return fail("-e requires 'none' or a single character"),
    };
    if call.flags.args.is_empty() {
        return Err(Failure::Usage("An allocation ID is required".to_owned()));
    }
    if call.flags.args.len() < 2 {
        return Err(Failure::Usage("A command is required".to_owned()));
    }
    let client = call.client()?;
    let alloc_id = if call.flags.is_on("job") {
        alloc_logs::alloc_of_job(call, &client)?
    } else {
        resolve::alloc(&client, call.arg(0), &call.ui.clock)?.one()?.id
    };
    let alloc = client.alloc(&alloc_id, &QueryOptions::default()).doing("querying allocation")?.value;
    let task = task(&alloc, call.flags.text("task"), call.verbose())?;
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let tty = call.flags.is_on_or("t", is_terminal);
    if tty && !is_terminal {
        return fail("-tty requires that both stdin and stdout are terminals");
    }
    let order = ExecOrder { task, command: call.flags.args.get(1..).unwrap_or_default().to_vec(), tty };
    let session = Session::begin(&client, &alloc_id, &order)?;
    session.run(escape.filter(|_| tty), call.flags.is_on_or("i", true))
}

/// The task of that name, or the only one.
pub fn task(alloc: &Alloc, named: &str, verbose: bool) -> Result<String, Failure> {
    let group = alloc.job.task_groups.iter().find(|group| group.name == alloc.task_group);
    let tasks: Vec<&str> =
        group.map(|group| group.tasks.iter().map(|task| task.name.as_str()).collect()).unwrap_or_default();
    match tasks.as_slice() {
        _ if !named.is_empty() && tasks.contains(&named) => Ok(named.to_owned()),
        _ if !named.is_empty() => fail(format!("Could not find task named: {named}, found:\n{}", tasks.join("\n"))),
        [only] => Ok((*only).to_owned()),
        several => {
            let list: String = several.iter().map(|task| format!("  * {task}\n")).collect();
            fail(format!(
                "Allocation {} is running the following tasks:\n{list}\nPlease specify the task.",
                quote(&id(&alloc.id, verbose))
            ))
        }
    }
}

/// A terminal that passes every key on, put back at the end.
struct Raw(Termios);

impl Raw {
    fn begin() -> Option<Raw> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}

/// What typed keys mean besides themselves: at the beginning of a line `~.` ends the session, `~~` is one `~`.
#[derive(Debug)]
struct Escapes {
    with: Option<char>,
    is_line_start: bool,
    is_begun: bool,
}

impl Escapes {
    /// What is to be sent of it; none ends the session.
    fn filter(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let Some(escape) = self.with.and_then(|with| u8::try_from(with).ok()) else { return Some(typed.to_vec()) };
        let mut sent = Vec::new();
        for byte in typed {
            match *byte {
                b'.' if self.is_begun => return None,
                byte if self.is_begun && byte != escape => sent.extend([escape, byte]),
                byte if !self.is_begun && self.is_line_start && byte == escape => {
                    self.is_begun = true;
                    continue;
                }
                byte => sent.push(byte),
            }
            self.is_begun = false;
            self.is_line_start = matches!(byte, b'\r' | b'\n');
        }
        Some(sent)
    }
}

struct Session {
    exec: Exec,
    is_tty: bool,
    size: Option<(u16, u16)>,
    /// What came before the session has begun in earnest.
    heard: Vec<Heard>,
}

impl Session {
    fn begin(client: &Client, alloc_id: &str, order: &ExecOrder) -> Result<Session, Failure> {
        let exec = client
            .exec(alloc_id, order)
            .map_err(|error| Failure::Error(format!("failed to exec into task: {error}")))?;
        Ok(Session { exec, is_tty: order.tty, size: None, heard: Vec::new() })
    }

    fn run(mut self, escape: Option<char>, hands_input_on: bool) -> Outcome {
        let raw = if self.is_tty { Raw::begin() } else { None };
        let mut escapes = Escapes { with: escape, is_line_start: true, is_begun: false };
        let mut reads_input = hands_input_on;
        if !hands_input_on {
            self.tell(Exec::close_stdin)?;
        }
        let mut last_sign = Instant::now();
        loop {
            self.look_at_size()?;
            for heard in std::mem::take(&mut self.heard).into_iter().chain(self.exec.hear()) {
                match heard {
                    Heard::Stdout(data) => pass_on(&mut std::io::stdout(), &data)?,
                    Heard::Stderr(data) => pass_on(&mut std::io::stderr(), &data)?,
                    Heard::Exited(code) => return Ok(code),
                    Heard::Failed(text) => {
                        drop(raw);
                        return fail(format!("failed to exec into task: {text}"));
                    }
                }
            }
            if last_sign.elapsed() >= HEARTBEAT {
                self.tell(Exec::heartbeat)?;
                last_sign = Instant::now();
            }
            let (heard_something, may_read) = self.wait(reads_input);
            if may_read && !heard_something {
                let mut typed = [0; 8192];
                match std::io::stdin().read(&mut typed) {
                    Ok(0) | Err(_) => {
                        reads_input = false;
                        self.tell(Exec::close_stdin)?;
                    }
                    Ok(length) => match escapes.filter(typed.get(..length).unwrap_or_default()) {
                        Some(sent) => self.tell(|exec| exec.send(&sent))?,
                        None => return Ok(0),
                    },
                }
            }
        }
    }

    /// Says something; when that fails, what was heard last says why.
    fn tell(&mut self, say: impl FnOnce(&mut Exec) -> std::io::Result<()>) -> Result<(), Failure> {
        if let Err(error) = say(&mut self.exec) {
            let heard = self.exec.hear();
            let ends = |heard: &Heard| matches!(heard, Heard::Exited(_) | Heard::Failed(_));
            if !heard.iter().any(ends) {
                return fail(format!("failed to exec into task: {error}"));
            }
            self.heard.extend(heard);
        }
        Ok(())
    }

    fn look_at_size(&mut self) -> Result<(), Failure> {
        if !self.is_tty {
            return Ok(());
        }
        let Ok(size) = tcgetwinsize(std::io::stdout()) else { return Ok(()) };
        let size = (size.ws_row, size.ws_col);
        if self.size != Some(size) {
            self.size = Some(size);
            self.tell(|exec| exec.resize(size.0, size.1))?;
        }
        Ok(())
    }

    /// Waits for either side: whether there is something to hear, and something to read.
    fn wait(&self, reads_input: bool) -> (bool, bool) {
        let stdin = std::io::stdin();
        let mut polled = vec![PollFd::new(&self.exec, PollFlags::IN)];
        if reads_input {
            polled.push(PollFd::new(&stdin, PollFlags::IN));
        }
        let pause = if self.is_tty { SIZE_LOOK } else { HEARTBEAT };
        let timeout = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        if rustix::event::poll(&mut polled, Some(&timeout)).is_err() {
            return (false, false);
        }
        let is_ready = |place: usize| polled.get(place).is_some_and(|polled| !polled.revents().is_empty());
        (is_ready(0), is_ready(1))
    }
}

/// Bytes as they are: this output is a stream, not lines.
fn pass_on(to: &mut impl Write, data: &[u8]) -> Result<(), Failure> {
    let written = to.write_all(data).and_then(|()| to.flush());
    written.map_err(|error| Failure::Error(format!("failed to exec into task: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_end_a_session_at_the_beginning_of_a_line_only() {
        let check = |with: Option<char>, typed: &[&str], expected: Option<&str>| {
            let mut escapes = Escapes { with, is_line_start: true, is_begun: false };
            let sent = typed.iter().map(|typed| escapes.filter(typed.as_bytes())).collect::<Option<Vec<_>>>();
            assert_eq!(sent.map(|sent| String::from_utf8(sent.concat()).unwrap()), expected.map(str::to_owned));
        };
        check(Some('~'), &["~."], None);
        check(Some('~'), &["ls\r", "~", "."], None);
        check(Some('~'), &["ls ~."], Some("ls ~."));
        check(Some('~'), &["~~."], Some("~."));
        check(Some('~'), &["~x"], Some("~x"));
        check(None, &["~."], Some("~."));
    }
}
