//! From an expression and a time to the next time it names.
//!
//! Between two changes of a zone's offset, wall clock and time go side by side: the search walks from one such stretch
//! to the next. So an hour that the clock skips names no time, and one that it repeats names two.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::field::YEAR;
use crate::parse::{Cron, Days, DaysOfMonth, DaysOfWeek};

/// The most changes of a zone's offset that are walked through: the years that an expression can name hold far fewer.
const STRETCHES_MAX: usize = 4096;

/// The last year that an expression can name.
const LAST_YEAR: i16 = YEAR.max.cast_signed();

impl Cron {
    /// The first time after `after` that the expression names in that zone; none when there is none before 2100.
    /// Times have whole seconds.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut from = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
        // Before 1970 the seconds of a time are rounded towards zero.
        if after.subsec_nanosecond() < 0 {
            from = Timestamp::from_second(after.as_second()).ok()?;
        }
        for _ in 0..STRETCHES_MAX {
            let offset = zone.to_offset(from);
            let end = zone.following(from).next().map_or(Timestamp::MAX, |change| change.timestamp());
            if let Some(found) = self.next_on_the_clock(offset.to_datetime(from), offset.to_datetime(end)) {
                return offset.to_timestamp(found).ok();
            }
            // No expression names a later year: the zone's changes from there on need not be walked through.
            if end == Timestamp::MAX || offset.to_datetime(end).year() > LAST_YEAR {
                return None;
            }
            from = end;
        }
        None
    }

    /// The first date and time from `from` that is named, before `end`.
    fn next_on_the_clock(&self, from: DateTime, end: DateTime) -> Option<DateTime> {
        let (mut date, mut time) = (from.date(), from.time());
        loop {
            if date > end.date() {
                return None;
            }
            let Some((found, days)) = self.month_from(date)? else {
                date = first_of_next_month(date)?;
                time = Time::midnight();
                continue;
            };
            if found != date {
                (date, time) = (found, Time::midnight());
            }
            let Some(day) = first_bit(days, date.day().unsigned_abs().into()) else {
                date = first_of_next_month(date)?;
                time = Time::midnight();
                continue;
            };
            if day != date.day().unsigned_abs().into() {
                date = date.with().day(i8::try_from(day).ok()?).build().ok()?;
                time = Time::midnight();
            }
            if let Some(time) = self.time_from(time) {
                return Some(date.to_datetime(time)).filter(|found| *found < end);
            }
            date = date.tomorrow().ok()?;
            time = Time::midnight();
        }
    }

    /// The date itself when its month is named, or the first of the next month that is, with the days of that month;
    /// the inner none asks to go on in the next month.
    #[expect(clippy::option_option, reason = "the end of the search and an empty month are different answers")]
    fn month_from(&self, date: Date) -> Option<Option<(Date, u64)>> {
        let year = u16::try_from(date.year()).unwrap_or(YEAR.min);
        let found = *self.years.range(year..).next()?;
        let date = if i16::try_from(found).ok()? == date.year() { date } else { first_of(found, 1)? };
        let Some(month) = first_bit(self.months, date.month().unsigned_abs().into()) else {
            // Only when no month of the year is left; an expression without months has none at all.
            return if self.months == 0 { None } else { Some(None) };
        };
        let date = if month == date.month().unsigned_abs().into() { date } else { first_of(found, month)? };
        Some(Some((date, self.days.in_month(date))))
    }

    /// The first time of day from `from`.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = (from.hour(), from.minute(), from.second());
        let [hour, minute, second] = [hour, minute, second].map(|part| u16::from(part.unsigned_abs()));
        let at = |hour: u16, minute: u16, second: u16| {
            let part = |value: u16| i8::try_from(value).ok();
            Time::new(part(hour)?, part(minute)?, part(second)?, 0).ok()
        };
        let (first_minute, first_second) = (first_bit(self.minutes, 0)?, first_bit(self.seconds, 0)?);
        let has = |bits: u64, value: u16| bits >> value & 1 == 1;
        if has(self.hours, hour) {
            if has(self.minutes, minute)
                && let Some(second) = first_bit(self.seconds, second)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = first_bit(self.minutes, minute + 1) {
                return at(hour, minute, first_second);
            }
        }
        at(first_bit(self.hours, hour + 1)?, first_minute, first_second)
    }
}

/// The earliest of the times that several expressions name.
pub fn earliest(crons: &[Cron], after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    crons.iter().filter_map(|cron| cron.next_after(after, zone)).min()
}

fn first_bit(bits: u64, from: u16) -> Option<u16> {
    let left = bits.checked_shr(from.into())?;
    (left != 0).then(|| from + u16::try_from(left.trailing_zeros()).unwrap_or(0))
}

fn first_of(year: u16, month: u16) -> Option<Date> {
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()
}

fn first_of_next_month(date: Date) -> Option<Date> {
    date.first_of_month().checked_add(1.month()).ok()
}

impl Days {
    /// The days of a date's month, one bit each.
    fn in_month(&self, date: Date) -> u64 {
        let (first, last) = (date.first_of_month(), date.last_of_month());
        let all = (1 << (last.day() + 1)) - 2;
        let days = match (&self.of_month, &self.of_week) {
            (None, None) => all,
            (of_month, of_week) => {
                of_month.as_ref().map_or(0, |days| days.in_month(first, last))
                    | of_week.as_ref().map_or(0, |days| days.in_month(first, last))
            }
        };
        days & all
    }
}

impl DaysOfMonth {
    fn in_month(&self, first: Date, last: Date) -> u64 {
        let mut days = self.days;
        if self.last {
            days |= 1 << last.day();
        }
        if self.last_workday {
            days |= 1 << workday_near(last, last);
        }
        for day in (1..=last.day()).filter(|day| self.workdays >> day & 1 == 1) {
            if let Ok(date) = first.with().day(day).build() {
                days |= 1 << workday_near(date, last);
            }
        }
        days
    }
}

/// The working day nearest to a date, in the same month.
fn workday_near(date: Date, last: Date) -> i8 {
    let day = date.day();
    match date.weekday() {
        Weekday::Saturday if day > 1 => day - 1,
        Weekday::Saturday => day + 2,
        Weekday::Sunday if day < last.day() => day + 1,
        Weekday::Sunday => day - 2,
        _ => day,
    }
}

impl DaysOfWeek {
    fn in_month(&self, first: Date, last: Date) -> u64 {
        let first_weekday = first.weekday().to_sunday_zero_offset();
        let mut days = 0;
        for day in 1..=last.day() {
            let weekday = (first_weekday + day - 1) % 7;
            let nth = (day - 1) / 7;
            let is_named = self.days >> weekday & 1 == 1
                || self.nth >> (nth * 7 + weekday) & 1 == 1
                || (self.last >> weekday & 1 == 1 && day > last.day() - 7);
            if is_named {
                days |= 1 << day;
            }
        }
        days
    }
}
