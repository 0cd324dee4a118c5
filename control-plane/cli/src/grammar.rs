//! What a command is, and how a line of words finds its command.

use crate::call::{Call, Outcome};
use crate::flags::{self, Flag, Trouble, switch, text};
use crate::help;
use crate::output::ui::Ui;
use crate::settings::{Environment, Settings};
use crate::suggest;

/// A command.
pub struct Command {
    /// Its words, as in `job run`.
    pub path: &'static str,
    /// Other words for the same; the first is shown in the help.
    pub aliases: &'static [&'static str],
    /// Spellings of old, which work and are shown nowhere.
    pub old_spellings: &'static [&'static str],
    /// Works, and stands in no list of commands.
    pub is_hidden: bool,
    /// One line.
    pub summary: &'static str,
    /// What follows the flags, as in `<path>`.
    pub arguments: &'static str,
    /// What it does, for its help.
    pub about: &'static str,
    /// Its own flags.
    pub flags: &'static [Flag],
    /// It talks to an agent and takes the flags for that.
    pub asks_agent: bool,
    /// The exit status of an error.
    pub error_status: i32,
    /// Does it.
    pub run: fn(&mut Call) -> Outcome,
}

impl Command {
    /// What most commands are.
    pub const BASE: Command = Command {
        path: "",
        aliases: &[],
        old_spellings: &[],
        is_hidden: false,
        summary: "",
        arguments: "",
        about: "",
        flags: &[],
        asks_agent: true,
        error_status: 1,
        run: |_| Ok(0),
    };

    /// All flags it takes.
    pub fn all_flags(&self) -> [&'static [Flag]; 2] {
        [self.flags, if self.asks_agent { AGENT_FLAGS } else { COLOR_FLAGS }]
    }
}

/// Flags of every command that asks an agent.
pub const AGENT_FLAGS: &[Flag] = &[
    text("address", "url", "The agent to ask. Also DROVER_ADDR or NOMAD_ADDR. Default: http://127.0.0.1:4646"),
    text("region", "name", "The region to ask. Also DROVER_REGION or NOMAD_REGION. Default: the agent's own."),
    text("namespace", "name", "The namespace to ask. Also DROVER_NAMESPACE or NOMAD_NAMESPACE. Default: default"),
    text("token", "secret", "The ACL token to show. Also DROVER_TOKEN or NOMAD_TOKEN."),
    text(
        "ca-cert",
        "path",
        "For https: a file of authorities to believe. Also DROVER_CACERT or NOMAD_CACERT. Default: the system's.",
    ),
    text("ca-path", "path", "For https: a folder of such files. Also DROVER_CAPATH or NOMAD_CAPATH."),
    text("client-cert", "path", "For https: the certificate to show. Also DROVER_CLIENT_CERT or NOMAD_CLIENT_CERT."),
    text("client-key", "path", "For https: its key. Also DROVER_CLIENT_KEY or NOMAD_CLIENT_KEY."),
    text(
        "tls-server-name",
        "name",
        "For https: the name that the agent's certificate must have. Also DROVER_TLS_SERVER_NAME or NOMAD_TLS_SERVER_NAME. Default: the address's host.",
    ),
    switch("tls-skip-verify", "For https: believe any certificate. Also DROVER_SKIP_VERIFY or NOMAD_SKIP_VERIFY."),
    switch("insecure", "The same as -tls-skip-verify."),
    switch("no-color", "No colour. Also DROVER_CLI_NO_COLOR or NOMAD_CLI_NO_COLOR."),
    switch("force-color", "Colour without a terminal, too. Also DROVER_CLI_FORCE_COLOR or NOMAD_CLI_FORCE_COLOR."),
];

/// Flags of every other command.
pub const COLOR_FLAGS: &[Flag] = &[
    switch("no-color", "No colour. Also DROVER_CLI_NO_COLOR or NOMAD_CLI_NO_COLOR."),
    switch("force-color", "Colour without a terminal, too. Also DROVER_CLI_FORCE_COLOR or NOMAD_CLI_FORCE_COLOR."),
];

/// Exit status of a first word that is no command.
const UNKNOWN_COMMAND: i32 = 127;

/// Runs a line. `commands` is the whole table.
pub fn run(words: &[String], commands: &[&'static Command], environment: &Environment, ui: &mut Ui) -> i32 {
    ui.color = environment.color(words, ui.is_terminal);
    let before_command = words.iter().take_while(|word| word.starts_with('-'));
    if before_command.into_iter().any(|word| matches!(word.as_str(), "-v" | "-version" | "--version")) {
        return match commands.iter().find(|command| command.path == "version") {
            Some(version) => call(version, &[], environment, ui),
            None => 0,
        };
    }
    let Some(first) = words.first() else {
        ui.plain(&help::root(commands));
        return UNKNOWN_COMMAND;
    };
    if matches!(first.as_str(), "-h" | "-help" | "--help") {
        ui.plain(&help::root(commands));
        return 0;
    }
    match find(words, commands) {
        Found::Command(command, name, used) => {
            if let Some(new) = command.old_spellings.contains(&name.as_str()).then_some(command.path)
                && name.starts_with("server-")
            {
                ui.error(&format!(
                    "WARNING! The \"drover {name}\" command is deprecated. Please use \"drover {new}\"\n\
                     instead. This command will be removed in a later version of drover."
                ));
            }
            call(command, &words[used..], environment, ui)
        }
        Found::Group(group, rest) => group_help(&group, rest, commands, ui),
        Found::Nothing => {
            let first_words = commands.iter().flat_map(|command| names(command)).map(first_word);
            let near = suggest::nearest(first, first_words);
            ui.error(&unknown(&format!("unknown command {first:?}"), near));
            ui.plain(&help::root(commands));
            UNKNOWN_COMMAND
        }
    }
}

fn group_help(group: &str, rest: &[String], commands: &[&'static Command], ui: &mut Ui) -> i32 {
    let status = match rest.first().map(String::as_str) {
        Some("-h" | "-help" | "--help") => 0,
        Some(word) if !word.starts_with('-') => {
            let inside = commands.iter().filter_map(|command| command.path.strip_prefix(group)?.strip_prefix(' '));
            let near = suggest::nearest(word, inside.map(first_word));
            ui.error(&unknown(&format!("unknown command \"{group} {word}\""), near));
            1
        }
        _ => 1,
    };
    ui.plain(&help::group(group, commands));
    status
}

fn unknown(what: &str, near: Option<&str>) -> String {
    near.map_or_else(|| what.to_owned(), |near| format!("{what}\nDid you mean {near:?}?"))
}

fn call(command: &'static Command, words: &[String], environment: &Environment, ui: &mut Ui) -> i32 {
    let parsed = match flags::parse(words, &command.all_flags()) {
        Ok(parsed) => parsed,
        Err(Trouble::HelpWanted) => {
            ui.plain(&help::command(command));
            return 0;
        }
        Err(Trouble::Wrong(text)) => {
            // The help is long: what is wrong stands below it, where people look.
            ui.plain(&help::command(command));
            ui.error(&text);
            return command.error_status;
        }
    };
    let settings = Settings::new(&parsed, environment);
    let mut call = Call { command, flags: parsed, settings, environment, ui };
    let outcome = (command.run)(&mut call);
    call.finish(outcome)
}

enum Found<'a> {
    Command(&'static Command, String, usize),
    Group(String, &'a [String]),
    Nothing,
}

/// The command whose words are the longest beginning of the line.
fn find<'a>(words: &'a [String], commands: &[&'static Command]) -> Found<'a> {
    let leading = words.iter().take_while(|word| !word.starts_with('-')).count().min(4);
    for used in (1..=leading).rev() {
        let name = words[..used].join(" ");
        if let Some(command) = commands.iter().find(|command| names(command).any(|known| known == name)) {
            return Found::Command(command, name, used);
        }
    }
    for used in (1..=leading).rev() {
        let name = words[..used].join(" ");
        let is_group = commands
            .iter()
            .any(|command| command.path.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(' ')));
        if is_group {
            return Found::Group(name, &words[used..]);
        }
    }
    Found::Nothing
}

fn names(command: &Command) -> impl Iterator<Item = &'static str> {
    std::iter::once(command.path).chain(command.aliases.iter().copied()).chain(command.old_spellings.iter().copied())
}

fn first_word(name: &'static str) -> &'static str {
    name.split(' ').next().unwrap_or(name)
}
