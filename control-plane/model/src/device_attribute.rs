//! Attributes of devices: numbers with units, truths and texts, read from text and compared with each other.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One attribute; one of the four is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DeviceAttribute {
    /// A number with a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float: Option<f64>,
    /// A whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int: Option<i64>,
    /// A text.
    #[serde(rename = "String", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A truth.
    #[serde(rename = "Bool", skip_serializing_if = "Option::is_none")]
    pub flag: Option<bool>,
    /// The unit of a number; empty for none.
    pub unit: String,
}

/// What a unit measures; only numbers of one kind are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Bytes,
    BytesPerSecond,
    Hertz,
    Watt,
}

/// Every unit with the number that makes it the measure's base; watts are counted in thousandths.
const UNITS: &[(&str, Measure, i128)] = &[
    ("KiB", Measure::Bytes, 1 << 10),
    ("MiB", Measure::Bytes, 1 << 20),
    ("GiB", Measure::Bytes, 1 << 30),
    ("TiB", Measure::Bytes, 1 << 40),
    ("PiB", Measure::Bytes, 1 << 50),
    ("EiB", Measure::Bytes, 1 << 60),
    ("kB", Measure::Bytes, 1_000),
    ("KB", Measure::Bytes, 1_000),
    ("MB", Measure::Bytes, 1_000_000),
    ("GB", Measure::Bytes, 1_000_000_000),
    ("TB", Measure::Bytes, 1_000_000_000_000),
    ("PB", Measure::Bytes, 1_000_000_000_000_000),
    ("EB", Measure::Bytes, 1_000_000_000_000_000_000),
    ("KiB/s", Measure::BytesPerSecond, 1 << 10),
    ("MiB/s", Measure::BytesPerSecond, 1 << 20),
    ("GiB/s", Measure::BytesPerSecond, 1 << 30),
    ("TiB/s", Measure::BytesPerSecond, 1 << 40),
    ("PiB/s", Measure::BytesPerSecond, 1 << 50),
    ("EiB/s", Measure::BytesPerSecond, 1 << 60),
    ("kB/s", Measure::BytesPerSecond, 1_000),
    ("KB/s", Measure::BytesPerSecond, 1_000),
    ("MB/s", Measure::BytesPerSecond, 1_000_000),
    ("GB/s", Measure::BytesPerSecond, 1_000_000_000),
    ("TB/s", Measure::BytesPerSecond, 1_000_000_000_000),
    ("PB/s", Measure::BytesPerSecond, 1_000_000_000_000_000),
    ("EB/s", Measure::BytesPerSecond, 1_000_000_000_000_000_000),
    ("MHz", Measure::Hertz, 1_000_000),
    ("GHz", Measure::Hertz, 1_000_000_000),
    ("mW", Measure::Watt, 1),
    ("W", Measure::Watt, 1_000),
    ("kW", Measure::Watt, 1_000_000),
    ("MW", Measure::Watt, 1_000_000_000),
    ("GW", Measure::Watt, 1_000_000_000_000),
];

fn unit_of(name: &str) -> Option<(Measure, i128)> {
    UNITS.iter().find(|(unit, ..)| *unit == name).map(|(_, measure, factor)| (*measure, *factor))
}

impl DeviceAttribute {
    /// A text.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// A whole number in that unit.
    pub fn of_int(int: i64, unit: &str) -> Self {
        Self { int: Some(int), unit: unit.to_owned(), ..Self::default() }
    }

    /// Reads `4 GiB`, `12`, `1.5`, `true`; anything else is a text.
    pub fn parse(text: &str) -> Self {
        let ends_in_letter = text.ends_with(char::is_alphabetic);
        let unit = UNITS
            .iter()
            .filter(|(unit, ..)| ends_in_letter && text.ends_with(unit))
            .map(|(unit, ..)| *unit)
            .max_by_key(|unit| unit.len())
            .unwrap_or_default();
        let number = text[..text.len() - unit.len()].trim_end();
        // Without a unit blanks are no part of a number.
        let number = if unit.is_empty() { text } else { number.trim_start() };
        if let Ok(int) = number.parse() {
            return Self::of_int(int, unit);
        }
        if let Ok(float) = number.parse::<f64>()
            && float.is_finite()
        {
            return Self { float: Some(float), unit: unit.to_owned(), ..Self::default() };
        }
        match text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Self { flag: Some(true), ..Self::default() },
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Self { flag: Some(false), ..Self::default() },
            _ => Self::of_text(text),
        }
    }

    /// How it lies to another one; none when the two can't be compared. Truths are equal or greater.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (unit_of(&self.unit), unit_of(&other.unit)) {
            (Some((own, _)), Some((others, _))) if own == others => {}
            (None, None) => {}
            _ => return None,
        }
        if let Some(text) = &self.text {
            return other.text.as_ref().map(|other| text.cmp(other));
        }
        if let Some(flag) = self.flag {
            return other.flag.map(|other| if flag == other { Ordering::Equal } else { Ordering::Greater });
        }
        if let (Some(own), Some(others)) = (self.whole(), other.whole()) {
            return Some(own.cmp(&others));
        }
        self.number()?.partial_cmp(&other.number()?)
    }

    /// In the base of its unit.
    fn whole(&self) -> Option<i128> {
        let factor = unit_of(&self.unit).map_or(1, |(_, factor)| factor);
        self.int.and_then(|int| i128::from(int).checked_mul(factor))
    }

    fn number(&self) -> Option<f64> {
        let factor = unit_of(&self.unit).map_or(1.0, |(_, factor)| factor as f64);
        self.float.or(self.int.map(|int| int as f64)).map(|number| number * factor)
    }
}

/// As tables show it: the value, a blank, the unit.
impl std::fmt::Display for DeviceAttribute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { text: Some(text), .. } => f.write_str(text)?,
            Self { flag: Some(flag), .. } => write!(f, "{flag}")?,
            Self { int: Some(int), .. } => write!(f, "{int}")?,
            Self { float: Some(float), .. } => write!(f, "{float}")?,
            _ => {}
        }
        if self.unit.is_empty() { Ok(()) } else { write!(f, " {}", self.unit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_they_look_like() {
        let check =
            |text: &str, expected: DeviceAttribute| assert_eq!(DeviceAttribute::parse(text), expected, "{text}");
        check("4", DeviceAttribute::of_int(4, ""));
        check("4 GiB", DeviceAttribute::of_int(4, "GiB"));
        check("-4GiB/s", DeviceAttribute::of_int(-4, "GiB/s"));
        check("1.5kW", DeviceAttribute { float: Some(1.5), unit: "kW".to_owned(), ..Default::default() });
        check("true", DeviceAttribute { flag: Some(true), ..Default::default() });
        for text in ["", "Tesla", "GiB", "4 GiBs", "x4 MB", "inf", "4 "] {
            check(text, DeviceAttribute::of_text(text));
        }
    }

    #[test]
    fn only_what_measures_the_same_is_compared() {
        let check = |left: &str, right: &str, expected: Option<Ordering>| {
            let (left_is, right_is) = (DeviceAttribute::parse(left), DeviceAttribute::parse(right));
            assert_eq!(left_is.compare(&right_is), expected, "{left} and {right}");
        };
        check("4 GiB", "4096 MiB", Some(Ordering::Equal));
        check("4 GiB", "4 GB", Some(Ordering::Greater));
        check("1500 mW", "1.5 W", Some(Ordering::Equal));
        check("8 EiB", "9 EB", Some(Ordering::Greater));
        check("4 GiB", "4 GHz", None);
        check("4 GiB", "4", None);
        check("4", "4.0", Some(Ordering::Equal));
        check("b", "a", Some(Ordering::Greater));
        check("4", "a", None);
        check("true", "false", Some(Ordering::Greater));
        check("true", "yes", None);
        assert_eq!(DeviceAttribute::parse("4GiB").to_string(), "4 GiB");
    }
}
