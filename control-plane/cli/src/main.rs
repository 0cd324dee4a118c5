//! `drover`: the whole product. `drover agent` serves, every other command asks an agent over its HTTP API.

mod agent;
mod call;
mod commands;
mod flags;
mod grammar;
mod help;
mod output;
mod settings;
mod suggest;

#[cfg(test)]
mod tests;

use output::ui::Ui;
use settings::Environment;

fn main() {
    // The supervisor is this binary again: it branches off before anything else is set up.
    drover_edge_agent::main_if_supervisor();

    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let status = grammar::run(&words, commands::COMMANDS, &Environment::system(), &mut Ui::system());
    std::process::exit(status);
}
