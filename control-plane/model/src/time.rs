//! Times and durations as they travel: nanoseconds in JSON and in the log, RFC 3339 text where the API wants text.
//!
//! Nothing here reads a clock: times come from whoever proposes a change.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: nanoseconds since 1970-01-01 UTC. Zero means "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// True for the zero value.
    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    /// The time `later` after this one; saturates at the end of the range.
    pub fn plus(self, later: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(later.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 text in UTC with as many fractional digits as needed; none for a time out of range.
    pub fn to_rfc3339(self) -> Option<String> {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).ok().map(|time| time.to_string())
    }

    /// Reads RFC 3339 text.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Self)
    }
}

/// `Timestamp` as RFC 3339 text in JSON, null when zero; plain nanoseconds in the log.
pub mod rfc3339 {
    use super::*;

    /// Writes text or null.
    pub fn serialize<S: Serializer>(time: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return s.serialize_i64(time.0);
        }
        match time.to_rfc3339() {
            Some(text) if !time.is_never() => s.serialize_str(&text),
            _ => s.serialize_none(),
        }
    }

    /// Reads text, null, or (from the log) nanoseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        if !d.is_human_readable() {
            return i64::deserialize(d).map(Timestamp);
        }
        match Option::<String>::deserialize(d)? {
            None => Ok(Timestamp(0)),
            Some(text) => {
                Timestamp::from_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
            }
        }
    }
}

/// `Duration` as whole nanoseconds. Negative numbers read as zero: no field that uses this knows them.
pub mod nanos {
    use super::*;

    /// Writes nanoseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Reads nanoseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        i64::deserialize(d).map(|n| Duration::from_nanos(u64::try_from(n).unwrap_or(0)))
    }
}

/// `Option<Duration>` as nanoseconds or null.
pub mod optional_nanos {
    use super::*;

    /// Writes nanoseconds or null.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => nanos::serialize(duration, s),
            None => s.serialize_none(),
        }
    }

    /// Reads nanoseconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<i64>::deserialize(d)?.map(|n| Duration::from_nanos(u64::try_from(n).unwrap_or(0))))
    }
}

/// Formats a duration as the language of job files writes it: `1m30s`, `250ms`, `1h0m0s`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let fraction = |whole: u128, part: u128, width: usize, unit: &str| {
        if part == 0 {
            return format!("{whole}{unit}");
        }
        let digits = format!("{part:0width$}");
        format!("{whole}.{}{unit}", digits.trim_end_matches('0'))
    };
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(nanos / 1_000, nanos % 1_000, 3, "µs"),
        1_000_000..1_000_000_000 => fraction(nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let tail = fraction(u128::from(seconds % 60), nanos % 1_000_000_000, 9, "s");
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    }
}

/// Reads a duration as job files write it (`1h30m`, `250ms`, `1.5s`); `None` when it is not one or is negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total_nanos: f64 = 0.0;
    let mut whole_nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        match number.parse::<u64>() {
            Ok(whole) => whole_nanos = whole_nanos.checked_add(u128::from(whole).checked_mul(scale)?)?,
            Err(_) => total_nanos += number.parse::<f64>().ok()? * scale as f64,
        }
        rest = next;
    }
    let nanos = whole_nanos.checked_add(total_nanos as u128)?;
    // The range of a signed 64-bit count, which is what the wire carries.
    i64::try_from(nanos).ok()?;
    Some(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_format_as_job_files_write_them() {
        let check = |nanos: u64, expected: &str| assert_eq!(format_duration(Duration::from_nanos(nanos)), expected);
        check(0, "0s");
        check(1, "1ns");
        check(1_500, "1.5µs");
        check(250_000_000, "250ms");
        check(1_500_000_000, "1.5s");
        check(90_000_000_000, "1m30s");
        check(3_600_000_000_000, "1h0m0s");
    }

    #[test]
    fn durations_parse() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_nanos), "{text}");
        };
        check("1h30m", Some(5_400_000_000_000));
        check("250ms", Some(250_000_000));
        check("1.5s", Some(1_500_000_000));
        check("0", Some(0));
        check("5", None);
        check("1d", None);
        check("", None);
        check("-5s", None);
        check("99999999999h", None);
    }

    #[test]
    fn times_are_text_in_json() {
        #[derive(Serialize, Deserialize)]
        struct Row {
            #[serde(with = "rfc3339")]
            at: Timestamp,
        }
        let text = serde_json::to_string(&Row { at: Timestamp(1_571_856_364_000_000_000) }).unwrap();
        assert_eq!(text, r#"{"at":"2019-10-23T18:46:04Z"}"#);
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap().at, Timestamp(1_571_856_364_000_000_000));
        assert_eq!(serde_json::to_string(&Row { at: Timestamp(0) }).unwrap(), r#"{"at":null}"#);
    }
}
