//! `drover fmt`

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use drover_hcl::Source;

use crate::call::{Call, Outcome};
use crate::flags::switch;
use crate::grammar::Command;

/// The command.
pub const COMMAND: Command = Command {
    path: "fmt",
    summary: "Lay out job files and settings evenly",
    arguments: "[<path>…]",
    about: "Lays out files that end in .hcl or .nomad, and those of folders; without an argument the files of this folder. \
            - is standard input, whose result goes to standard output.\n\n\
            Exit status 1 for an error, and with -check when a file is not laid out so.",
    flags: &[
        switch("check", "Change nothing; the exit status says whether all is laid out so."),
        switch("list", "Show the names of the files that are changed. Default: true"),
        switch("recursive", "Folders within folders, too."),
        switch("write", "Change the files. Without it and without -list the result goes to stdout. Default: true"),
    ],
    asks_agent: false,
    run,
    ..Command::BASE
};

/// No file is read beyond this.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Folders within folders that are walked through.
const DEPTH_MAX: usize = 64;
/// What standard input is called.
const STDIN: &str = "<stdin>";

struct Formatter<'a, 'b> {
    call: &'a mut Call<'b>,
    check: bool,
    list: bool,
    write: bool,
    print: bool,
    recursive: bool,
    problems: Vec<String>,
    is_even: bool,
}

fn run(call: &mut Call) -> Outcome {
    let paths = call.flags.args.clone();
    let from_stdin = paths.first().is_some_and(|path| path == "-");
    let check = call.flags.is_on("check");
    let list = call.flags.is_on_or("list", true) && !from_stdin;
    let write = call.flags.is_on_or("write", true) && !from_stdin && !check;
    let recursive = call.flags.is_on("recursive");
    let print = from_stdin || (!list && !write);
    let mut formatter = Formatter { call, check, list, write, print, recursive, problems: Vec::new(), is_even: true };
    if from_stdin {
        let mut text = String::new();
        match (&mut formatter.call.ui.stdin).take(FILE_BYTES_MAX + 1).read_to_string(&mut text) {
            Ok(_) => formatter.text(STDIN, text),
            Err(error) => formatter.problems.push(format!("Failed to read file {STDIN}: {error}")),
        }
    } else if paths.is_empty() {
        formatter.folder(Path::new("."), 0);
    } else {
        for path in &paths {
            formatter.path(Path::new(path));
        }
    }
    let Formatter { problems, is_even, .. } = formatter;
    for problem in &problems {
        call.ui.error(problem);
    }
    Ok(if problems.is_empty() && is_even { 0 } else { call.command.error_status })
}

impl Formatter<'_, '_> {
    fn path(&mut self, path: &Path) {
        let shown = path.display();
        match fs::metadata(path) {
            Err(_) => self.problems.push(format!("No file or directory at {shown}")),
            Ok(about) if about.is_dir() => self.folder(path, 0),
            Ok(_) if is_ours(path) => self.file(path),
            Ok(_) => self.problems.push("Only .nomad and .hcl files can be processed using drover fmt".to_owned()),
        }
    }

    fn folder(&mut self, folder: &Path, depth: usize) {
        let shown = folder.display();
        let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let Ok(mut entries) = listed else {
            self.problems.push(format!("Failed to list directory {shown}"));
            return;
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            // "." is left out of names, as people write them.
            let name = entry.file_name();
            let path = if folder == Path::new(".") { name.into() } else { folder.join(name) };
            // Links to folders are not followed: they may lead round in circles.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && self.recursive {
                if depth < DEPTH_MAX {
                    self.folder(&path, depth + 1);
                } else {
                    self.problems.push(format!("{} is too deep", path.display()));
                }
            } else if !is_folder && is_ours(&path) && path.is_file() {
                self.file(&path);
            }
        }
    }

    fn file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Ok(_) => self.text(&shown, text),
            Err(error) => self.problems.push(format!("Failed to read file {shown}: {error}")),
        }
    }

    fn text(&mut self, name: &str, text: String) {
        if text.len() as u64 > FILE_BYTES_MAX {
            self.problems.push(format!("Failed to read file {name}: more than {FILE_BYTES_MAX} bytes"));
            return;
        }
        let source = Source::new(name, &text);
        let even = match drover_hcl::format(&source) {
            Ok(even) => even,
            Err(problems) => {
                self.problems.extend(problems.iter().map(|problem| problem.human(&source)));
                return;
            }
        };
        if even != text {
            if self.list {
                self.call.ui.out(name);
            }
            if self.check {
                self.is_even = false;
            }
            if self.write
                && let Err(error) = fs::write(name, &even)
            {
                self.problems.push(format!("Failed to write file {name}: {error}"));
            }
        }
        if self.print {
            self.call.ui.write(even.as_bytes());
        }
    }
}

fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "hcl" || extension == "nomad")
}
