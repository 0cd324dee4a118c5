//! Flags as the tools of this field have them: one dash or two, `-name value` or `-name=value`, bools without a value or
//! with `=`, everything from the first other word on is an argument, `--` ends the flags. No crate reads them so: clap
//! tells `-name` apart from `--name` and takes the former for a row of one-letter flags.

use std::collections::BTreeMap;

use crate::suggest;

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// For the help, in whole sentences.
    pub help: &'static str,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or `=true`, `=false`.
    Bool,
    /// A whole number.
    Number,
    /// Text; the word stands for it in the help. Given twice, the last one counts.
    Text(&'static str),
    /// Text, as often as wanted.
    List(&'static str),
}

/// A flag without a value.
pub const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Bool, help }
}

/// A flag with a text.
pub const fn text(name: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Text(word), help }
}

/// A flag with a whole number.
pub const fn number(name: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::Number, help }
}

/// A flag that may be repeated.
pub const fn list(name: &'static str, word: &'static str, help: &'static str) -> Flag {
    Flag { name, kind: Kind::List(word), help }
}

/// What stood on the line: flags, then arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    values: BTreeMap<&'static str, Vec<String>>,
    /// What is left after the flags.
    pub args: Vec<String>,
}

/// Why a line could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// `-h`, `-help` or `--help` stood there.
    HelpWanted,
    /// What is wrong, and the nearest flag when one is near.
    Wrong(String),
}

impl Parsed {
    /// The switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// The switch as given, or its default.
    pub fn is_on_or(&self, name: &str, default: bool) -> bool {
        self.values.get(name).map_or(default, |_| self.is_on(name))
    }

    /// The text given last; empty when none was.
    pub fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(|values| values.last()).map_or("", String::as_str)
    }

    /// All texts given.
    pub fn texts(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// The number given last.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name).parse().ok()
    }
}

/// Reads the words after the command's name.
pub fn parse(words: &[String], known: &[&[Flag]]) -> Result<Parsed, Trouble> {
    let mut parsed = Parsed::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            break;
        }
        let Some(body) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|body| !body.is_empty())
        else {
            parsed.args.push(word.clone());
            break;
        };
        if body.starts_with(['-', '=']) {
            return Err(Trouble::Wrong(format!("bad flag syntax: {word}")));
        }
        let (name, given) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let flag = match known.iter().copied().flatten().find(|flag| flag.name == name) {
            Some(flag) => flag,
            None if matches!(name, "h" | "help") => return Err(Trouble::HelpWanted),
            None => return Err(unknown(name, known)),
        };
        let value = match (flag.kind, given) {
            (Kind::Bool, None) => "true".to_owned(),
            (Kind::Bool, Some(value)) => match truth(&value) {
                Some(is_on) => is_on.to_string(),
                None => {
                    return Err(Trouble::Wrong(format!("invalid boolean value {value:?} for -{name}: parse error")));
                }
            },
            (_, Some(value)) => value,
            (_, None) => {
                let missing = || Trouble::Wrong(format!("flag needs an argument: -{name}"));
                words.next().ok_or_else(missing)?.clone()
            }
        };
        if flag.kind == Kind::Number && value.parse::<i64>().is_err() {
            return Err(Trouble::Wrong(format!("invalid value {value:?} for flag -{name}: parse error")));
        }
        parsed.values.entry(flag.name).or_default().push(value);
    }
    parsed.args.extend(words.cloned());
    Ok(parsed)
}

/// A truth value as flags and variables write it.
pub fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn unknown(name: &str, known: &[&[Flag]]) -> Trouble {
    let mut text = format!("flag provided but not defined: -{name}");
    let names = known.iter().copied().flatten().map(|flag| flag.name);
    if let Some(near) = suggest::nearest(name, names) {
        text.push_str(&format!("\nDid you mean -{near}?"));
    }
    Trouble::Wrong(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[
        switch("json", ""),
        switch("short", ""),
        number("n", ""),
        text("task", "name", ""),
        list("var", "name=value", ""),
    ];

    fn line(words: &str) -> Result<Parsed, Trouble> {
        parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), &[KNOWN])
    }

    #[test]
    fn one_dash_or_two_value_beside_or_behind() {
        for words in ["-json -task srv -n 3 id", "--json --task=srv --n=3 id", "-json=true -task=srv -n=3 -- id"] {
            let parsed = line(words).unwrap();
            assert!(parsed.is_on("json") && !parsed.is_on("short"));
            assert_eq!((parsed.text("task"), parsed.number("n")), ("srv", Some(3)));
            assert_eq!(parsed.args, ["id"]);
        }
    }

    #[test]
    fn flags_end_at_the_first_argument() {
        let parsed = line("web -json").unwrap();
        assert!(!parsed.is_on("json"));
        assert_eq!(parsed.args, ["web", "-json"]);
        assert_eq!(line("-json false").unwrap().args, ["false"]);
        assert_eq!(line("-").unwrap().args, ["-"]);
        assert_eq!(line("-var a=1 -var b=2 -json=0").unwrap().texts("var"), ["a=1", "b=2"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |words: &str, expected: &str| {
            assert_eq!(line(words), Err(Trouble::Wrong(expected.to_owned())));
        };
        check("-nope", "flag provided but not defined: -nope");
        check("-jsn web", "flag provided but not defined: -jsn\nDid you mean -json?");
        check("-short=maybe web", "invalid boolean value \"maybe\" for -short: parse error");
        check("-n x y", "invalid value \"x\" for flag -n: parse error");
        check("-n", "flag needs an argument: -n");
        check("---n", "bad flag syntax: ---n");
        assert_eq!(line("-json -h"), Err(Trouble::HelpWanted));
        assert_eq!(line("--help"), Err(Trouble::HelpWanted));
    }
}
