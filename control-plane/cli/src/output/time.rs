//! Points in time and spans, for people.

use std::time::Duration;

use drover_model::time::format_duration;
use jiff::tz::TimeZone;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Now, and where the reader is.
#[derive(Clone, Debug)]
pub struct Clock {
    /// A time that stands still, for tests.
    pub fixed_nanos: Option<i64>,
    /// The reader's zone.
    pub zone: TimeZone,
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self { fixed_nanos: None, zone: TimeZone::system() }
    }

    /// Nanoseconds since 1970.
    pub fn now_nanos(&self) -> i64 {
        self.fixed_nanos.unwrap_or_else(|| i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX))
    }

    /// `2026-11-21T11:27:34Z`, in the reader's zone. Empty for "never".
    pub fn absolute(&self, nanos: i64) -> String {
        if nanos == 0 {
            return String::new();
        }
        let Ok(time) = jiff::Timestamp::from_nanosecond(i128::from(nanos)) else { return String::new() };
        let local = time.to_zoned(self.zone.clone());
        if local.offset().is_zero() {
            local.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
        } else {
            local.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        }
    }

    /// Now, absolute.
    pub fn now_text(&self) -> String {
        self.absolute(self.now_nanos())
    }

    /// The same for a time as the API writes it. Empty when it is not one, or never.
    pub fn absolute_text(&self, rfc3339: &str) -> String {
        parse_nanos(rfc3339).map(|nanos| self.absolute(nanos)).unwrap_or_default()
    }

    /// `1m14s ago` or `59m56s from now`. Empty for "never".
    pub fn relative(&self, nanos: i64) -> String {
        if nanos == 0 {
            return String::new();
        }
        let away_nanos = self.now_nanos().saturating_sub(nanos);
        let away = away_nanos.saturating_add(NANOS_PER_SECOND / 2).div_euclid(NANOS_PER_SECOND);
        if away < 0 {
            format!("{} from now", span(away.unsigned_abs()))
        } else {
            format!("{} ago", span(away.unsigned_abs()))
        }
    }

    /// How long until then, with all units and whole seconds: `15h28m32s`. Zero for what is over.
    pub fn until(&self, nanos: i64) -> String {
        let left = nanos.saturating_sub(self.now_nanos()).max(0);
        let seconds = left.saturating_add(NANOS_PER_SECOND / 2) / NANOS_PER_SECOND;
        format_duration(Duration::from_secs(seconds.unsigned_abs()))
    }

    /// Relative, or absolute in verbose output.
    pub fn shown(&self, nanos: i64, verbose: bool) -> String {
        if verbose { self.absolute(nanos) } else { self.relative(nanos) }
    }
}

/// Nanoseconds since 1970 of a time as the API writes it; the year 1 counts as never.
pub fn parse_nanos(rfc3339: &str) -> Option<i64> {
    let time: jiff::Timestamp = rfc3339.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok().filter(|nanos| *nanos > 0)
}

/// The two largest units that are not zero. A month has 30 days and a year 12 months.
fn span(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    const MONTH: u64 = 30 * DAY;
    const YEAR: u64 = 12 * MONTH;
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, name) in [(YEAR, "y"), (MONTH, "mo"), (DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (1, "s")] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(zone: TimeZone) -> Clock {
        Clock { fixed_nanos: parse_nanos("2026-11-21T11:27:40Z"), zone }
    }

    #[test]
    fn absolute_times_carry_the_zone() {
        let at = parse_nanos("2026-11-21T11:27:34.9Z").unwrap();
        assert_eq!(clock(TimeZone::UTC).absolute(at), "2026-11-21T11:27:34Z");
        assert_eq!(clock(TimeZone::fixed(jiff::tz::offset(1))).absolute(at), "2026-11-21T12:27:34+01:00");
        assert_eq!(clock(TimeZone::UTC).absolute(0), "");
        assert_eq!(clock(TimeZone::UTC).absolute_text("0001-01-01T00:00:00Z"), "");
    }

    #[test]
    fn relative_times_show_two_units() {
        let clock = clock(TimeZone::UTC);
        let check = |seconds: i64, expected: &str| {
            assert_eq!(clock.relative(clock.now_nanos() - seconds * NANOS_PER_SECOND), expected);
        };
        check(0, "0s ago");
        check(5, "5s ago");
        check(74, "1m14s ago");
        check(300, "5m ago");
        check(3605, "1h5s ago");
        check(90_061, "1d1h ago");
        check(86_400 * 400, "1y1mo ago");
        check(-3596, "59m56s from now");
    }
}
