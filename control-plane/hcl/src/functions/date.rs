//! Dates and times as RFC 3339 text. No clock: times come from the text.

use super::{Answer, Fault, Function, fixed, string, text_at};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("formatdate", &[string("format"), string("time")], |a, _| {
        let time = Time::parse(text_at(a, 1)).map_err(|reason| Fault::Argument(1, reason))?;
        format_date(text_at(a, 0), &time).map(Value::String).map_err(|reason| Fault::Argument(0, reason))
    }),
    fixed("timeadd", &[string("timestamp"), string("duration")], |a, _| timeadd(text_at(a, 0), text_at(a, 1))),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const DAY_SECONDS: i64 = 86_400;

/// A moment as its text says it, with the offset of its zone.
struct Time {
    /// Seconds since 1970 on the local clock.
    local_seconds: i64,
    nanoseconds: i64,
    offset_minutes: i64,
    is_utc: bool,
}

/// Days since 1970 of a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    // Years from March on put the leap day last; eras have 400 of them.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of a count of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The RFC 3339 form of what YAML takes for a date or a time: `2020-1-1`, `2020-01-01 10:00:00`, with `T` and a zone.
/// Fractions of seconds are dropped.
pub(super) fn yaml_timestamp(text: &str) -> Option<String> {
    let number = |digits: &str, widths: std::ops::RangeInclusive<usize>| {
        let is_number = widths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse::<i64>().ok())?
    };
    let (date, time) = match text.split_once([' ', 'T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month, day) = (number(year, 4..=4)?, number(month, 1..=2)?, number(day, 1..=2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || date_of(days_of(year, month, day)) != (year, month, day)
    {
        return None;
    }
    let Some(time) = time else {
        return Some(format!("{year:04}-{month:02}-{day:02}T00:00:00Z"));
    };
    let has_zone = !date.is_empty() && text.as_bytes().get(date.len()) != Some(&b' ');
    let (clock, zone) = match has_zone {
        true => time.split_at(time.find(['Z', '+', '-'])?),
        false => (time, "Z"),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let (hour, minute, second) = (number(hour, 1..=2)?, number(minute, 1..=2)?, number(second, 1..=2)?);
    let is_real = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    number(fraction, 1..=18).filter(|_| is_real)?;
    // The rest of the rules are those of RFC 3339.
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}");
    let zone = Time::parse_strict(&whole)?;
    Some(if zone.is_utc { format!("{}Z", &whole[..19]) } else { whole })
}

impl Time {
    fn parse(text: &str) -> Result<Time, String> {
        Time::parse_strict(text).ok_or_else(|| format!("not a valid RFC3339 timestamp: cannot use \"{text}\""))
    }

    fn parse_strict(text: &str) -> Option<Time> {
        let number = |range: std::ops::Range<usize>| {
            let digits = text.get(range)?;
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
        };
        let mark = |at: usize, c: &str| (text.get(at..at + 1)? == c).then_some(());
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        for (at, c) in [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")] {
            mark(at, c)?;
        }
        let days = days_of(year, month, day);
        let is_real = (1..=12).contains(&month) && date_of(days) == (year, month, day);
        if !is_real || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let mut rest = text.get(19..)?;
        let mut nanoseconds = 0;
        if let Some(fraction) = rest.strip_prefix('.') {
            let width = fraction.bytes().take_while(u8::is_ascii_digit).count();
            let digits = fraction.get(..width.min(9)).filter(|digits| !digits.is_empty())?;
            nanoseconds = format!("{digits:0<9}").parse().ok()?;
            rest = &fraction[width..];
        }
        let offset_minutes = match rest {
            "Z" => 0,
            _ => {
                let sign = match rest.get(..1)? {
                    "+" => 1,
                    "-" => -1,
                    _ => return None,
                };
                let (hours, minutes) = rest.get(1..)?.split_once(':')?;
                let two = |digits: &str| {
                    (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()))
                        .then(|| digits.parse::<i64>().ok())?
                };
                sign * (two(hours).filter(|h| *h < 24)? * 60 + two(minutes).filter(|m| *m < 60)?)
            }
        };
        let local_seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second;
        Some(Time { local_seconds, nanoseconds, offset_minutes, is_utc: rest == "Z" || offset_minutes == 0 })
    }

    fn zone(&self, colon: &str) -> String {
        let minutes = self.offset_minutes.abs();
        let sign = if self.offset_minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}{colon}{:02}", minutes / 60, minutes % 60)
    }
}

fn format_date(layout: &str, time: &Time) -> Result<String, String> {
    let (days, of_day) = (time.local_seconds.div_euclid(DAY_SECONDS), time.local_seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let hour_of_12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    // Both lie inside their tables: months are 1 to 12, remainders of 7 are 0 to 6.
    let month_name = MONTHS[(month - 1) as usize];
    let weekday = WEEKDAYS[(days + 4).rem_euclid(7) as usize];
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = quoted(&rest[1..], &mut out)?;
            continue;
        }
        let width = rest.chars().take_while(|next| *next == c).count();
        if !c.is_ascii_alphabetic() {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let verb = &rest[..width];
        rest = &rest[width..];
        let text = match verb {
            "YYYY" => format!("{year:04}"),
            "YY" => format!("{:02}", year.rem_euclid(100)),
            "MMMM" => month_name.to_string(),
            "MMM" => month_name[..3].to_string(),
            "MM" => format!("{month:02}"),
            "M" => month.to_string(),
            "DD" => format!("{day:02}"),
            "D" => day.to_string(),
            "EEEE" => weekday.to_string(),
            "EEE" => weekday[..3].to_string(),
            "hh" => format!("{hour:02}"),
            "h" => hour.to_string(),
            "HH" => format!("{hour_of_12:02}"),
            "H" => hour_of_12.to_string(),
            "mm" => format!("{minute:02}"),
            "m" => minute.to_string(),
            "ss" => format!("{second:02}"),
            "s" => second.to_string(),
            "AA" => if hour < 12 { "AM" } else { "PM" }.to_string(),
            "aa" => if hour < 12 { "am" } else { "pm" }.to_string(),
            "ZZZZZ" => time.zone(":"),
            "ZZZZ" => time.zone(""),
            "ZZZ" if time.is_utc => "UTC".to_string(),
            "ZZZ" => time.zone(""),
            "Z" if time.is_utc => "Z".to_string(),
            "Z" => time.zone(":"),
            _ => return Err(format!("invalid date format verb \"{verb}\"")),
        };
        out.push_str(&text);
    }
    Ok(out)
}

/// Copies text in quotes, where two quotes stand for one, and returns what follows.
fn quoted<'l>(mut rest: &'l str, out: &mut String) -> Result<&'l str, String> {
    loop {
        let Some(quote) = rest.find('\'') else {
            return Err("unterminated literal '".to_string());
        };
        out.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Ok(rest),
        }
    }
}

fn timeadd(timestamp: &str, duration: &str) -> Answer {
    let time = Time::parse(timestamp).map_err(|reason| Fault::Argument(0, reason))?;
    let Some(added) = parse_duration(duration) else {
        return Fault::argument(1, format!("invalid duration \"{duration}\""));
    };
    let nanoseconds = i128::from(time.local_seconds) * 1_000_000_000 + i128::from(time.nanoseconds) + added;
    let (seconds, fraction) = (nanoseconds.div_euclid(1_000_000_000), nanoseconds.rem_euclid(1_000_000_000));
    let Ok(seconds) = i64::try_from(seconds) else {
        return Fault::call("the time is out of range");
    };
    let (year, month, day) = date_of(seconds.div_euclid(DAY_SECONDS));
    if !(0..=9999).contains(&year) {
        return Fault::call("the time is out of range");
    }
    let of_day = seconds.rem_euclid(DAY_SECONDS);
    let fraction = match fraction {
        0 => String::new(),
        _ => format!(".{}", format!("{fraction:09}").trim_end_matches('0')),
    };
    let zone = if time.is_utc { "Z".to_string() } else { time.zone(":") };
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}").into())
}

/// Nanoseconds of a duration such as `-1h30m` or `1.5s`; at most 292 years.
fn parse_duration(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let width = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (whole, fraction) = rest[..width].split_once('.').unwrap_or((&rest[..width], ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || width > 20 {
            return None;
        }
        rest = &rest[width..];
        let unit_width = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit: i128 = match &rest[..unit_width] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[unit_width..];
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        total = total.checked_add(digits.checked_mul(unit)? / 10i128.pow(fraction.len() as u32))?;
    }
    (total <= i128::from(i64::MAX)).then_some(sign * total)
}
