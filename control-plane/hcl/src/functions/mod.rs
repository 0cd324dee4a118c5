//! The functions that expressions may call, one file per family. `try`, `can` and `convert` are not here: they see
//! their arguments before these are evaluated.

mod cidr;
mod collection;
mod date;
mod encoding;
mod file;
mod format;
mod hash;
mod numeric;
mod password;
mod rsa;
mod sequence;
mod sets;
mod text;
mod yaml;
mod yaml_decode;

use crate::files::Files;
use crate::meter::Meter;
use crate::number::Number;
use crate::types::{Type, convert};
use crate::value::Value;

/// Why a call gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The argument of that place does not suit.
    Argument(usize, String),
    /// The call as a whole failed.
    Call(String),
    /// It would cost more than is left.
    Exhausted,
}

impl Fault {
    pub fn call<T>(reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Call(reason.into()))
    }

    pub fn argument<T>(place: usize, reason: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::Argument(place, reason.into()))
    }
}

pub(crate) type Answer = Result<Value, Fault>;

/// What a parameter takes; simple values are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    AnyOrNull,
    Text,
    Number,
    Texts,
}

/// One parameter of a function.
pub(crate) struct Parameter {
    pub name: &'static str,
    kind: Kind,
}

impl Parameter {
    /// The argument as the function wants it.
    pub fn accept(&self, value: &Value) -> Result<Value, String> {
        if value.is_null() && self.kind != Kind::AnyOrNull {
            return Err("argument must not be null".to_string());
        }
        match self.kind {
            Kind::Any | Kind::AnyOrNull => Ok(value.clone()),
            Kind::Text => convert(value, &Type::String),
            Kind::Number => convert(value, &Type::Number),
            Kind::Texts => convert(value, &Type::List(Box::new(Type::String))),
        }
    }
}

const fn any(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Any }
}

const fn any_or_null(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::AnyOrNull }
}

const fn string(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text }
}

const fn num(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Number }
}

const fn texts(name: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Texts }
}

/// What a function has beside its arguments.
pub(crate) struct Context<'a> {
    pub files: Option<&'a dyn Files>,
    pub seed: Option<[u8; 32]>,
    pub meter: Meter,
}

impl Context<'_> {
    /// Pays for work that its result will not show; a function calls this before it does the work.
    fn spend(&mut self, units: usize) -> Result<(), Fault> {
        if self.meter.take(units) { Ok(()) } else { Err(Fault::Exhausted) }
    }

    /// Bytes that nobody can foretell who does not have the seed.
    fn draw(&mut self) -> Result<[u8; 16], Fault> {
        match &self.seed {
            Some(seed) => Ok(self.meter.draw(seed)),
            None => Err(Fault::Call("there is no randomness here".to_string())),
        }
    }
}

/// The work of a function, on arguments that its parameters have accepted.
type Run = for<'a> fn(&[Value], &mut Context<'a>) -> Answer;

/// A function: its parameters, what may follow them, and its work.
pub(crate) struct Function {
    name: &'static str,
    pub parameters: &'static [Parameter],
    pub rest: Option<Parameter>,
    pub run: Run,
}

const fn fixed(name: &'static str, parameters: &'static [Parameter], run: Run) -> Function {
    Function { name, parameters, rest: None, run }
}

const fn open(name: &'static str, parameters: &'static [Parameter], rest: Parameter, run: Run) -> Function {
    Function { name, parameters, rest: Some(rest), run }
}

static FAMILIES: [&[Function]; 15] = [
    text::FUNCTIONS,
    format::FUNCTIONS,
    collection::FUNCTIONS,
    sequence::FUNCTIONS,
    sets::FUNCTIONS,
    numeric::FUNCTIONS,
    encoding::FUNCTIONS,
    yaml::FUNCTIONS,
    yaml_decode::FUNCTIONS,
    password::FUNCTIONS,
    rsa::FUNCTIONS,
    hash::FUNCTIONS,
    date::FUNCTIONS,
    cidr::FUNCTIONS,
    file::FUNCTIONS,
];

/// The functions that a text may call. A program that reads settings alone links none of them.
#[derive(Clone, Copy, Default)]
pub struct Functions(&'static [&'static [Function]]);

impl Functions {
    /// Every function of the job language.
    pub fn all() -> Functions {
        Functions(&FAMILIES)
    }

    /// The function of that name.
    pub(crate) fn find(self, name: &str) -> Option<&'static Function> {
        self.0.iter().copied().flatten().find(|function| function.name == name)
    }

    /// All names.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied().flatten().map(|function| function.name)
    }
}

/// The text at a place; a parameter of kind text has made sure of it.
fn text_at(arguments: &[Value], place: usize) -> &str {
    arguments.get(place).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a place; a parameter of kind number has made sure of it.
fn number_at(arguments: &[Value], place: usize) -> Number {
    arguments.get(place).and_then(Value::as_number).cloned().unwrap_or_else(|| Number::from(0i64))
}

/// The whole number at a place, within 64 bits.
fn whole_at(arguments: &[Value], place: usize) -> Result<i64, Fault> {
    let number = number_at(arguments, place);
    number.as_i64().ok_or_else(|| Fault::Argument(place, "value must be a whole number".to_string()))
}

/// The items at a place; empty when that is no sequence.
fn items_at(arguments: &[Value], place: usize) -> &[Value] {
    arguments.get(place).and_then(Value::as_items).unwrap_or_default()
}

#[cfg(test)]
mod tests;
