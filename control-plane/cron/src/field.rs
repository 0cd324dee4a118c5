//! One field of an expression: its range, its words, and the entries that stand in it.

use crate::parse::CronError;

/// What a field may hold.
pub(crate) struct Field {
    /// As errors call it.
    pub name: &'static str,
    /// The least value.
    pub min: u16,
    /// The largest value.
    pub max: u16,
    /// Words for values, short and long.
    words: &'static [(&'static str, &'static str, u16)],
}

const MONTHS: &[(&str, &str, u16)] = &[
    ("jan", "january", 1),
    ("feb", "february", 2),
    ("mar", "march", 3),
    ("apr", "april", 4),
    ("may", "may", 5),
    ("jun", "june", 6),
    ("jul", "july", 7),
    ("aug", "august", 8),
    ("sep", "september", 9),
    ("oct", "october", 10),
    ("nov", "november", 11),
    ("dec", "december", 12),
];

const WEEKDAYS: &[(&str, &str, u16)] = &[
    ("sun", "sunday", 0),
    ("mon", "monday", 1),
    ("tue", "tuesday", 2),
    ("wed", "wednesday", 3),
    ("thu", "thursday", 4),
    ("fri", "friday", 5),
    ("sat", "saturday", 6),
];

pub(crate) const SECOND: Field = Field { name: "second", min: 0, max: 59, words: &[] };
pub(crate) const MINUTE: Field = Field { name: "minute", min: 0, max: 59, words: &[] };
pub(crate) const HOUR: Field = Field { name: "hour", min: 0, max: 23, words: &[] };
pub(crate) const DAY: Field = Field { name: "day-of-month", min: 1, max: 31, words: &[] };
pub(crate) const MONTH: Field = Field { name: "month", min: 1, max: 12, words: MONTHS };
pub(crate) const WEEKDAY: Field = Field { name: "day-of-week", min: 0, max: 6, words: WEEKDAYS };
pub(crate) const YEAR: Field = Field { name: "year", min: 1970, max: 2099, words: &[] };

/// One entry between commas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// `*` or `?`.
    All,
    /// One value.
    One(u16),
    /// Every `step`th value from the first to the last.
    Span { first: u16, last: u16, step: u16 },
    /// Something that only some fields know, lower case.
    Other(&'a str),
}

impl Field {
    /// The value that a number or a word stands for.
    pub fn value(&self, text: &str) -> Option<u16> {
        if let Some((.., value)) = self.words.iter().find(|(short, long, _)| text == *short || text == *long) {
            return Some(*value);
        }
        let digits = if self.min > 99 { 4..=4 } else { 1..=2 };
        if !digits.contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value: u16 = text.parse().ok()?;
        // Sunday is 0 and 7.
        if value == 7 && self.max == WEEKDAY.max && self.min == WEEKDAY.min {
            return Some(0);
        }
        (self.min..=self.max).contains(&value).then_some(value)
    }

    /// Reads an entry, given in lower case.
    pub fn entry<'a>(&self, text: &'a str) -> Result<Entry<'a>, CronError> {
        if text == "*" || text == "?" {
            return Ok(Entry::All);
        }
        let (range, step) = match text.split_once('/') {
            Some((range, step)) if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) => {
                (range, Some(step))
            }
            Some(_) => return Ok(Entry::Other(text)),
            None => (text, None),
        };
        let (first, last) = if range == "*" {
            (self.min, self.max)
        } else if let Some(first) = self.value(range) {
            match step {
                None => return Ok(Entry::One(first)),
                Some(_) => (first, self.max),
            }
        } else if let Some((first, last)) = self.ends(range) {
            (first, last)
        } else {
            return Ok(Entry::Other(text));
        };
        let step = match step {
            None => 1,
            Some(step) => self.step(step).ok_or_else(|| CronError::Interval(text.to_owned()))?,
        };
        Ok(Entry::Span { first, last, step })
    }

    fn ends(&self, range: &str) -> Option<(u16, u16)> {
        let (first, last) = range.split_once('-')?;
        Some((self.value(first)?, self.value(last)?))
    }

    /// A step has one or two digits, or four in the field of the year.
    fn step(&self, text: &str) -> Option<u16> {
        let value: u16 = text.parse().ok()?;
        let is_known = match text.len() {
            1 | 2 => value <= 59,
            4 => (YEAR.min..=YEAR.max).contains(&value),
            _ => false,
        };
        (is_known && value >= 1 && value <= self.max).then_some(value)
    }
}
