//! From text to an expression.

use std::collections::BTreeSet;

use crate::field::{DAY, Entry, Field, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, YEAR};

/// The longest expression that is read, in bytes.
pub const SPEC_BYTES_MAX: usize = 4096;

/// The most expressions that one job is looked after by.
pub const SPECS_MAX: usize = 64;

/// Names for whole expressions.
const NAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 0 1 1 * *"),
    ("@annually", "0 0 0 1 1 * *"),
    ("@monthly", "0 0 0 1 * * *"),
    ("@weekly", "0 0 0 * * 0 *"),
    ("@daily", "0 0 0 * * * *"),
    ("@hourly", "0 0 * * * * *"),
];

/// Why a text is no expression. The texts are those that users of such expressions know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// There are fewer than five fields.
    #[error("missing field(s)")]
    MissingFields,
    /// A field holds nothing but commas.
    #[error("{0} field: missing directive")]
    MissingDirective(&'static str),
    /// An entry is none.
    #[error("syntax error in {field} field: '{entry}'")]
    Syntax {
        /// The field.
        field: &'static str,
        /// The entry as written.
        entry: String,
    },
    /// A step is zero or too large.
    #[error("invalid interval {0}")]
    Interval(String),
    /// The text is longer than [`SPEC_BYTES_MAX`].
    #[error("longer than {SPEC_BYTES_MAX} bytes")]
    TooLong,
}

/// A cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// One bit per value.
    pub(crate) seconds: u64,
    pub(crate) minutes: u64,
    pub(crate) hours: u64,
    pub(crate) months: u64,
    pub(crate) years: BTreeSet<u16>,
    pub(crate) days: Days,
}

/// Which days of a month: when both kinds are restricted, either does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Days {
    /// None when every day of the month does.
    pub of_month: Option<DaysOfMonth>,
    /// None when every day of the week does.
    pub of_week: Option<DaysOfWeek>,
}

/// Days counted from the month's beginning or end. One bit per day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DaysOfMonth {
    pub days: u64,
    /// The working day nearest to that day (`15W`).
    pub workdays: u64,
    /// The last day (`L`).
    pub last: bool,
    /// The last working day (`LW`).
    pub last_workday: bool,
}

/// Days of the week, Sunday being 0. One bit per day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DaysOfWeek {
    pub days: u64,
    /// The last such day of the month (`5L`).
    pub last: u64,
    /// The n-th such day of the month (`5#2`): bit 7 * (n - 1) + day.
    pub nth: u64,
}

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        if text.len() > SPEC_BYTES_MAX {
            return Err(CronError::TooLong);
        }
        let text = NAMES.iter().fold(text.to_owned(), |text, (name, meaning)| text.replace(name, meaning));
        let fields: Vec<&str> =
            text.split([' ', '\t', '\n', '\u{c}', '\r']).filter(|field| !field.is_empty()).take(7).collect();
        let (second, fields) = match fields.as_slice() {
            [second, fields @ ..] if fields.len() == 6 => (*second, fields),
            fields => ("0", fields),
        };
        let [minute, hour, day, month, weekday, year @ ..] = fields else {
            return Err(CronError::MissingFields);
        };
        let seconds = bits(&values(&SECOND, second)?);
        let minutes = bits(&values(&MINUTE, minute)?);
        let hours = bits(&values(&HOUR, hour)?);
        let of_month = days_of_month(day)?;
        let months = bits(&values(&MONTH, month)?);
        let of_week = days_of_week(weekday)?;
        let years = values(&YEAR, year.first().unwrap_or(&"*"))?;
        Ok(Self { seconds, minutes, hours, months, years, days: Days { of_month, of_week } })
    }
}

fn bits(values: &BTreeSet<u16>) -> u64 {
    values.iter().fold(0, |bits, value| bits | 1 << value)
}

fn span(first: u16, last: u16, step: u16) -> impl Iterator<Item = u16> {
    (first..=last).step_by(usize::from(step))
}

/// The entries of a field with the text of each.
fn entries<'a>(field: &Field, text: &'a str) -> Result<Vec<&'a str>, CronError> {
    let entries: Vec<&str> = text.split(',').filter(|entry| !entry.is_empty()).collect();
    if entries.is_empty() { Err(CronError::MissingDirective(field.name)) } else { Ok(entries) }
}

fn syntax(field: &Field, entry: &str) -> CronError {
    CronError::Syntax { field: field.name, entry: entry.to_owned() }
}

/// The values of a field that knows only numbers and spans.
fn values(field: &Field, text: &str) -> Result<BTreeSet<u16>, CronError> {
    let mut values = BTreeSet::new();
    let mut wrong = None;
    let mut is_all = false;
    for entry in entries(field, text)? {
        let lower = entry.to_ascii_lowercase();
        // A bad step is told even behind a wildcard; whatever else stands there is not looked at.
        match field.entry(&lower)? {
            _ if is_all || wrong.is_some() => {}
            Entry::All => is_all = true,
            Entry::One(value) => {
                values.insert(value);
            }
            Entry::Span { first, last, step } => values.extend(span(first, last, step)),
            Entry::Other(_) => wrong = Some(syntax(field, entry)),
        }
    }
    match wrong {
        Some(error) => Err(error),
        None if is_all => Ok((field.min..=field.max).collect()),
        None => Ok(values),
    }
}

fn days_of_month(text: &str) -> Result<Option<DaysOfMonth>, CronError> {
    let mut found = DaysOfMonth::default();
    let mut is_restricted = true;
    for entry in entries(&DAY, text)? {
        let lower = entry.to_ascii_lowercase();
        match DAY.entry(&lower)? {
            Entry::All => is_restricted = false,
            Entry::One(day) => found.days |= 1 << day,
            Entry::Span { first, last, step } => found.days |= bits(&span(first, last, step).collect()),
            Entry::Other("l") => found.last = true,
            Entry::Other("lw") => found.last_workday = true,
            Entry::Other(other) => {
                let day = other.strip_suffix('w').and_then(|day| DAY.value(day)).ok_or_else(|| syntax(&DAY, entry))?;
                found.workdays |= 1 << day;
            }
        }
    }
    Ok(is_restricted.then_some(found))
}

fn days_of_week(text: &str) -> Result<Option<DaysOfWeek>, CronError> {
    let mut found = DaysOfWeek::default();
    let mut is_restricted = true;
    for entry in entries(&WEEKDAY, text)? {
        let lower = entry.to_ascii_lowercase();
        match WEEKDAY.entry(&lower)? {
            Entry::All => is_restricted = false,
            Entry::One(day) => found.days |= 1 << day,
            Entry::Span { first, last, step } => {
                // A span that ends on Sunday ends the week: 5-7 is Friday and Saturday.
                let last = if last == 0 { WEEKDAY.max } else { last };
                found.days |= bits(&span(first, last, step).collect());
            }
            Entry::Other(other) => {
                let of_month = |text: &str| WEEKDAY.value(text).ok_or_else(|| syntax(&WEEKDAY, entry));
                if let Some(day) = other.strip_suffix('l') {
                    found.last |= 1 << of_month(day)?;
                } else if let Some((day, nth @ ("1" | "2" | "3" | "4" | "5"))) = other.split_once('#') {
                    let nth: u16 = nth.parse().map_err(|_| syntax(&WEEKDAY, entry))?;
                    found.nth |= 1 << ((nth - 1) * 7 + of_month(day)?);
                } else {
                    return Err(syntax(&WEEKDAY, entry));
                }
            }
        }
    }
    Ok(is_restricted.then_some(found))
}
