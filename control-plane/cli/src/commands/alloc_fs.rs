//! `drover alloc fs`

use drover_api_client::files::FileInfo;
use drover_api_client::logs::Frame;
use drover_api_client::{Client, Error};

use crate::call::{Call, Failure, Outcome};
use crate::commands::{alloc_logs, resolve};
use crate::flags::{number, switch, text};
use crate::grammar::Command;
use crate::output::quantity::bytes;
use crate::output::table::table;
use crate::output::ui::Ui;

/// The command.
pub const COMMAND: Command = Command {
    path: "alloc fs",
    aliases: &["fs"],
    summary: "Look at files of an allocation",
    arguments: "<allocation> [<path>]",
    about: "Lists a directory of an allocation, or shows a file.",
    flags: &[
        switch("H", "Sizes in bytes and times in full."),
        number("c", "With -tail: begin so many bytes before the end."),
        switch("f", "Go on showing what is written."),
        text("group", "name", "With -job: an allocation of this group."),
        switch("job", "The argument is a job: an allocation of it, one that runs if there is one."),
        number("n", "With -tail: begin so many lines before the end. Default: 10"),
        switch("stat", "What the path is, not what it holds."),
        switch("tail", "Only the end of the file."),
        switch("verbose", "Full ids."),
    ],
    run,
    ..Command::BASE
};

/// What is asked for per line.
const BYTES_PER_LINE: u64 = 120;
/// More than this is not kept for counting lines.
const TAIL_BYTES_MAX: u64 = 64 << 20;

fn run(call: &mut Call) -> Outcome {
    if !matches!(call.flags.args.len(), 1 | 2) {
        return Err(Failure::Usage("This command takes one or two arguments: <alloc-id> [<path>]".to_owned()));
    }
    let client = call.client()?;
    let alloc_id = if call.flags.is_on("job") {
        alloc_logs::alloc_of_job(call, &client)?
    } else {
        resolve::alloc(&client, call.arg(0), &call.ui.clock)?.one()?.id
    };
    let path = match call.arg(1) {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    let is_exact = call.flags.is_on("H");
    let said = |error: Error| Failure::Error(error.to_string());
    let file = client.file(&alloc_id, &path).map_err(said)?.value;
    if call.flags.is_on("stat") {
        let mut rows = rows(std::slice::from_ref(&file), is_exact);
        let row = rows.pop().unwrap_or_default();
        let [mode, size, time, name] = <[String; 4]>::try_from(row).unwrap_or_default();
        call.ui.out(&table(
            &["Mode", "Size", "Modified Time", "Content Type", "Name"],
            &[vec![mode, size, time, file.content_type, name]],
        ));
        return Ok(0);
    }
    if file.is_dir {
        let files = client.files(&alloc_id, &path).map_err(said)?.value;
        call.ui.out(&table(&["Mode", "Size", "Modified Time", "Name"], &rows(&files, is_exact)));
        return Ok(0);
    }
    let positive = |name: &str| call.flags.number(name).and_then(|count| u64::try_from(count).ok());
    let (lines, offset) = match (call.flags.is_on("tail"), positive("n"), positive("c")) {
        (false, ..) => (None, None),
        (true, None, Some(bytes)) => (None, Some(bytes)),
        (true, lines, _) => {
            let lines = lines.unwrap_or(10);
            (Some(lines), Some(BYTES_PER_LINE.saturating_mul(lines).saturating_mul(8).min(TAIL_BYTES_MAX)))
        }
    };
    let follow = call.flags.is_on("f");
    let reader = Reader { client: &client, alloc_id: &alloc_id, path: &path };
    let shown = match (lines, offset) {
        (Some(lines), Some(offset)) => reader.last_lines(call.ui, lines, offset, follow),
        (_, offset) => reader.pass_on(call.ui, offset.is_some(), offset.unwrap_or(0), follow),
    };
    shown.map(|()| 0).map_err(|problem| Failure::Error(format!("Error reading file: {problem}")))
}

/// Mode, size, time and name of each.
fn rows(files: &[FileInfo], is_exact: bool) -> Vec<Vec<String>> {
    files
        .iter()
        .map(|file| {
            let size = u64::try_from(file.size).unwrap_or(0);
            let time = match (is_exact, file.mod_time.split_once('.')) {
                (false, Some((seconds, _))) => format!("{seconds}Z"),
                _ => file.mod_time.clone(),
            };
            let name = if file.is_dir { format!("{}/", file.name) } else { file.name.clone() };
            vec![file.file_mode.clone(), if is_exact { size.to_string() } else { bytes(size) }, time, name]
        })
        .collect()
}

struct Reader<'a> {
    client: &'a Client,
    alloc_id: &'a str,
    path: &'a str,
}

impl Reader<'_> {
    fn pass_on(&self, ui: &mut Ui, from_end: bool, offset: u64, follow: bool) -> Result<(), String> {
        let frames = self.client.file_frames(self.alloc_id, self.path, from_end, offset, follow);
        for frame in frames.map_err(|error| error.to_string())? {
            if !print(ui, &frame.map_err(|error| error.to_string())?) {
                break;
            }
        }
        Ok(())
    }

    /// The last lines of what is there; then, where wanted, what is added.
    fn last_lines(&self, ui: &mut Ui, lines: u64, offset: u64, follow: bool) -> Result<(), String> {
        let frames = self.client.file_frames(self.alloc_id, self.path, true, offset, false);
        let (mut text, mut end) = (Vec::new(), 0);
        for frame in frames.map_err(|error| error.to_string())? {
            let frame = frame.map_err(|error| error.to_string())?;
            end = u64::try_from(frame.offset).unwrap_or(end).max(end);
            text.extend(frame.data);
        }
        let shown = alloc_logs::last_lines(&text, usize::try_from(lines).unwrap_or(usize::MAX));
        match ui.write(shown) && follow {
            true => self.pass_on(ui, false, end, true),
            false => Ok(()),
        }
    }
}

/// False when nobody reads any more.
fn print(ui: &mut Ui, frame: &Frame) -> bool {
    if !frame.event.is_empty() {
        ui.note(&format!("drover: {:?} has been {}", frame.file, frame.event.trim_start_matches("file ")));
    }
    frame.data.is_empty() || ui.write(&frame.data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_stand_in_rows() {
        let file = FileInfo {
            name: "alloc".into(),
            is_dir: true,
            size: 4096,
            file_mode: "drwxrwxrwx".into(),
            mod_time: "2026-11-21T11:32:20.957781235Z".into(),
            content_type: String::new(),
        };
        assert_eq!(
            rows(std::slice::from_ref(&file), false),
            [["drwxrwxrwx", "4.0 KiB", "2026-11-21T11:32:20Z", "alloc/"]]
        );
        assert_eq!(rows(&[file], true), [["drwxrwxrwx", "4096", "2026-11-21T11:32:20.957781235Z", "alloc/"]]);
    }
}
