//! One call of a command: what it was given, and how it may end.

use drover_api_client::{Client, Error};
use serde_json::Value;

use crate::flags::Parsed;
use crate::grammar::Command;
use crate::output::ui::Ui;
use crate::output::{json, template};
use crate::settings::{Environment, Settings};

/// What a command works with.
pub struct Call<'a> {
    /// The command.
    pub command: &'static Command,
    /// Its flags and arguments.
    pub flags: Parsed,
    /// Whom to ask.
    pub settings: Settings,
    /// The variables of the process.
    pub environment: &'a Environment,
    /// Where text goes.
    pub ui: &'a mut Ui,
}

/// An exit status, or why there is none better than the command's status for errors.
pub type Outcome = Result<i32, Failure>;

/// How a command fails.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// This is wrong.
    Error(String),
    /// The line makes no sense; where help is to be found is added.
    Usage(String),
    /// The same, with the words of the command whose help explains it.
    UsageOf(String, &'static str),
}

/// An error with a text.
pub fn fail<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Error(text.into()))
}

/// Says what was being done: `Error querying jobs: …`.
pub trait Doing<T> {
    /// Puts `doing` before the error.
    fn doing(self, doing: &str) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Error> {
    fn doing(self, doing: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Error(format!("Error {doing}: {error}")))
    }
}

impl Call<'_> {
    /// A client for the agent.
    pub fn client(&self) -> Result<Client, Failure> {
        self.settings.client().map_err(|error| Failure::Error(format!("Error initializing client: {error}")))
    }

    /// Full ids and more.
    pub fn verbose(&self) -> bool {
        self.flags.is_on("verbose")
    }

    /// An argument.
    pub fn arg(&self, position: usize) -> &str {
        self.flags.args.get(position).map_or("", String::as_str)
    }

    /// The one argument there must be.
    pub fn only_arg(&self, what: &str) -> Result<String, Failure> {
        match self.flags.args.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(Failure::Usage(format!("This command takes one argument: {what}"))),
        }
    }

    /// No argument at all.
    pub fn no_args(&self) -> Result<(), Failure> {
        if self.flags.args.is_empty() {
            Ok(())
        } else {
            Err(Failure::Usage("This command takes no arguments".to_owned()))
        }
    }

    /// `-json` or `-t` stands there.
    pub fn wants_data(&self) -> bool {
        self.flags.is_on("json") || !self.flags.text("t").is_empty()
    }

    /// Prints what `-json` or `-t` ask for.
    pub fn print_data(&mut self, value: &Value) -> Outcome {
        let template = self.flags.text("t");
        let text = match (self.flags.is_on("json"), template) {
            (true, "") => json::pretty(value),
            (false, template) => match template::render(template, value) {
                Ok(text) => text,
                Err(problem) => return fail(format!("Error formatting the data: {problem}")),
            },
            (true, _) => return fail("Both json and template formatting are not allowed"),
        };
        self.ui.out(&text);
        Ok(0)
    }

    /// Both at once is refused before anything is asked.
    pub fn check_data_flags(&self) -> Result<(), Failure> {
        if self.flags.is_on("json") && !self.flags.text("t").is_empty() {
            return fail("Both json and template formatting are not allowed");
        }
        Ok(())
    }

    /// Says what went wrong and turns it into an exit status.
    pub fn finish(&mut self, outcome: Outcome) -> i32 {
        let help = |words: &str| format!("For additional help try 'drover {words} -help'");
        match outcome {
            Ok(status) => return status,
            Err(Failure::Error(text)) => self.ui.error(&text),
            Err(Failure::Usage(text)) => {
                self.ui.error(&text);
                self.ui.error(&help(self.command.path));
            }
            Err(Failure::UsageOf(text, words)) => {
                self.ui.error(&text);
                self.ui.error(&help(words));
            }
        }
        self.command.error_status
    }
}
