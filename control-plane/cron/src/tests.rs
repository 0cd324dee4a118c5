//! Tables: what an expression says, and what comes next.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{Cron, CronError, earliest};

/// New York, without a look at a database of zones.
fn new_york() -> TimeZone {
    TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next times after `from`.
fn times(spec: &str, from: &str, zone: &TimeZone, count: usize) -> Vec<String> {
    let cron = Cron::parse(spec).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let mut from = at(from);
    let mut found = Vec::new();
    while let Some(next) = cron.next_after(from, zone).filter(|_| found.len() < count) {
        assert!(next > from, "{spec}");
        found.push(next.to_string());
        from = next;
    }
    found
}

#[test]
fn what_comes_next_in_utc() {
    let check = |spec: &str, from: &str, expected: &[&str]| {
        assert_eq!(times(spec, from, &TimeZone::UTC, expected.len()), expected, "{spec}");
    };
    check("* * * * *", "2026-11-21T16:35:30.5Z", &["2026-11-21T16:36:00Z", "2026-11-21T16:37:00Z"]);
    check("* * * * *", "2026-11-21T16:35:59.999999999Z", &["2026-11-21T16:36:00Z"]);
    check("*/15 * * * *", "2026-11-21T16:45:00Z", &["2026-11-21T17:00:00Z", "2026-11-21T17:15:00Z"]);
    // The sixth field is the year, the first of seven the second.
    check("*/15 * * * * *", "2026-11-21T16:35:00Z", &["2026-11-21T16:45:00Z", "2026-11-21T17:00:00Z"]);
    check("0/3 * * * * * *", "2026-11-21T16:35:01Z", &["2026-11-21T16:35:03Z", "2026-11-21T16:35:06Z"]);
    check("0 0 1 1 * 2030", "2026-11-21T16:35:01Z", &["2030-01-01T00:00:00Z"]);
    check("30 15 10 1 6 * 2027-2030/2", "2026-11-21T00:00:00Z", &["2027-06-01T10:15:30Z", "2029-06-01T10:15:30Z"]);
    check("0 0 * * 0", "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"]);
    check("0 0 * * 7", "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00Z"]);
    check("0 0 * * sUn", "2026-11-21T00:00:00Z", &["2026-11-22T00:00:00Z"]);
    check("0 0 * * saturday", "2026-11-21T00:00:00Z", &["2026-11-28T00:00:00Z"]);
    check("0 0 1 FEB,august *", "2026-11-21T00:00:00Z", &["2027-02-01T00:00:00Z", "2027-08-01T00:00:00Z"]);
    // When both are restricted, either does.
    check(
        "0 9 1 * 1",
        "2026-11-28T00:00:00Z",
        &["2026-11-30T09:00:00Z", "2026-12-01T09:00:00Z", "2026-12-07T09:00:00Z"],
    );
    // A wildcard among others lifts the restriction of the days.
    check("0 9 1,* * 1", "2026-11-28T00:00:00Z", &["2026-11-30T09:00:00Z", "2026-12-07T09:00:00Z"]);
    check("0 0 29 2 *", "2026-11-21T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    check("0 0 31 * *", "2027-01-31T00:00:00Z", &["2027-03-31T00:00:00Z", "2027-05-31T00:00:00Z"]);
    check("59 23 31 12 *", "2026-12-31T23:59:00Z", &["2027-12-31T23:59:00Z"]);
    check("0 0 L * *", "2027-01-31T00:00:00Z", &["2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"]);
    // The 31st of January 2027 is a Sunday.
    check("0 0 LW * *", "2027-01-01T00:00:00Z", &["2027-01-29T00:00:00Z", "2027-02-26T00:00:00Z"]);
    check("0 0 15W * *", "2026-11-01T00:00:00Z", &["2026-11-16T00:00:00Z", "2026-12-15T00:00:00Z"]);
    // The 1st of May 2027 is a Saturday, the 1st of August a Sunday.
    check("0 0 1w * *", "2027-04-30T00:00:00Z", &["2027-05-03T00:00:00Z", "2027-06-01T00:00:00Z"]);
    check("0 0 31W * *", "2027-01-20T00:00:00Z", &["2027-01-29T00:00:00Z", "2027-03-31T00:00:00Z"]);
    check("0 0 * * 5#2", "2026-11-01T00:00:00Z", &["2026-11-13T00:00:00Z", "2026-12-11T00:00:00Z"]);
    check("0 0 * * fri#5", "2026-11-01T00:00:00Z", &["2027-01-29T00:00:00Z", "2027-04-30T00:00:00Z"]);
    check("0 0 * * 5L", "2026-11-01T00:00:00Z", &["2026-11-27T00:00:00Z", "2026-12-25T00:00:00Z"]);
    check("0 0 * * 7l", "2026-11-01T00:00:00Z", &["2026-11-29T00:00:00Z"]);
    check(
        "0 0 ? * 1-3",
        "2026-11-21T00:00:00Z",
        &["2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z", "2026-11-30T00:00:00Z"],
    );
    check(
        "0 0 * * 5-7",
        "2026-11-21T00:00:00Z",
        &["2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z", "2026-12-04T00:00:00Z"],
    );
    check(
        "5-20/5,50 3 * * *",
        "2026-11-21T00:00:00Z",
        &[
            "2026-11-21T03:05:00Z",
            "2026-11-21T03:10:00Z",
            "2026-11-21T03:15:00Z",
            "2026-11-21T03:20:00Z",
            "2026-11-21T03:50:00Z",
            "2026-11-22T03:05:00Z",
        ],
    );
    check("  0 5\t* * * * * * zz", "2026-11-21T00:00:00Z", &["2026-11-21T00:05:00Z", "2026-11-21T01:05:00Z"]);
    check("* * * * *", "1969-12-31T23:58:59.5Z", &["1970-01-01T00:00:00Z"]);
}

#[test]
fn names_of_whole_expressions() {
    let check = |name: &str, expected: &str| {
        assert_eq!(times(name, "2026-11-21T16:35:00Z", &TimeZone::UTC, 1), [expected], "{name}");
    };
    check("@hourly", "2026-11-21T17:00:00Z");
    check("@daily", "2026-11-22T00:00:00Z");
    check("@weekly", "2026-11-22T00:00:00Z");
    check("@monthly", "2026-12-01T00:00:00Z");
    check("@yearly", "2027-01-01T00:00:00Z");
    check("@annually", "2027-01-01T00:00:00Z");
}

#[test]
fn an_hour_that_the_clock_skips_names_no_time() {
    // New York, the 14th of March 2027: after 01:59:59 comes 03:00.
    let zone = new_york();
    let check = |spec: &str, from: &str, expected: &[&str]| {
        assert_eq!(times(spec, from, &zone, expected.len()), expected, "{spec}");
    };
    check("30 2 * * *", "2027-03-13T00:00:00Z", &["2027-03-13T07:30:00Z", "2027-03-15T06:30:00Z"]);
    check("@hourly", "2027-03-14T05:30:00Z", &["2027-03-14T06:00:00Z", "2027-03-14T07:00:00Z", "2027-03-14T08:00:00Z"]);
    check("0 3 * * *", "2027-03-14T00:00:00Z", &["2027-03-14T07:00:00Z", "2027-03-15T07:00:00Z"]);
    check("0 0 14 3 *", "2027-03-01T00:00:00Z", &["2027-03-14T05:00:00Z", "2028-03-14T04:00:00Z"]);
}

#[test]
fn an_hour_that_the_clock_repeats_names_two_times() {
    // New York, the 7th of November 2027: after 01:59:59 comes 01:00 again.
    let zone = new_york();
    let check = |spec: &str, from: &str, expected: &[&str]| {
        assert_eq!(times(spec, from, &zone, expected.len()), expected, "{spec}");
    };
    check(
        "30 1 * * *",
        "2027-11-07T00:00:00Z",
        &["2027-11-07T05:30:00Z", "2027-11-07T06:30:00Z", "2027-11-08T06:30:00Z"],
    );
    let halves = [
        "2027-11-07T04:30:00Z",
        "2027-11-07T05:00:00Z",
        "2027-11-07T05:30:00Z",
        "2027-11-07T06:00:00Z",
        "2027-11-07T06:30:00Z",
        "2027-11-07T07:00:00Z",
    ];
    check("*/30 * * * *", "2027-11-07T04:00:00Z", &halves);
    check("0 2 * * *", "2027-11-07T00:00:00Z", &["2027-11-07T07:00:00Z"]);
}

#[test]
fn what_never_comes_is_not_searched_for_without_end() {
    for spec in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 1 1 * 1999", "20-10 * * * *", "* 9-8 * * *", "0 0 1 12-11 *"] {
        assert_eq!(times(spec, "2026-11-21T00:00:00Z", &new_york(), 1), Vec::<String>::new(), "{spec}");
    }
    assert_eq!(times("* * * * *", "2099-12-31T23:59:30Z", &TimeZone::UTC, 1), Vec::<String>::new());
}

#[test]
fn several_expressions_give_the_earliest() {
    let crons = ["0 12 * * *", "30 16 * * *"].map(|spec| Cron::parse(spec).unwrap());
    let next = |from: &str| earliest(&crons, at(from), &TimeZone::UTC).unwrap().to_string();
    assert_eq!(next("2026-11-21T13:00:00Z"), "2026-11-21T16:30:00Z");
    assert_eq!(next("2026-11-21T16:30:00Z"), "2026-11-22T12:00:00Z");
    assert_eq!(earliest(&[], at("2026-11-21T13:00:00Z"), &TimeZone::UTC), None);
}

#[test]
fn wrong_expressions() {
    let check = |spec: &str, expected: &str| {
        let found = Cron::parse(spec).map(drop).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_owned()), "{spec}");
    };
    check("", "missing field(s)");
    check("x y", "missing field(s)");
    check("@midnight", "missing field(s)");
    check("@reboot", "missing field(s)");
    check("60 * * * *", "syntax error in minute field: '60'");
    check("* 24 * * *", "syntax error in hour field: '24'");
    check("* * 0 * *", "syntax error in day-of-month field: '0'");
    check("* * 32 * *", "syntax error in day-of-month field: '32'");
    check("* * * 13 *", "syntax error in month field: '13'");
    check("* * * JANU *", "syntax error in month field: 'JANU'");
    check("* * * * 8", "syntax error in day-of-week field: '8'");
    check("* * * * 5#6", "syntax error in day-of-week field: '5#6'");
    check("* * * * * 2100", "syntax error in year field: '2100'");
    check("99 * * * * * *", "syntax error in second field: '99'");
    check("*/0 * * * *", "invalid interval */0");
    check("*/60 * * * *", "invalid interval */60");
    check("1/x * * * *", "syntax error in minute field: '1/x'");
    check(", * * * *", "minute field: missing directive");
    check("-1 * * * *", "syntax error in minute field: '-1'");
    check("1--2 * * * *", "syntax error in minute field: '1--2'");
    check("\u{e9} * * * *", "syntax error in minute field: '\u{e9}'");
    assert_eq!(Cron::parse(&"*".repeat(5000)), Err(CronError::TooLong));
}

#[test]
fn any_text_is_read_or_refused() {
    // Every pair of pieces, as a field and as a whole: no panic, and what is read ends its search.
    let pieces = [
        "*",
        "?",
        "/",
        "-",
        ",",
        "#",
        "L",
        "W",
        "0",
        "7",
        "59",
        "2099",
        "99999999999999999999",
        "mon",
        " ",
        "\u{e9}",
        "@daily",
    ];
    for first in pieces {
        for second in pieces {
            for third in pieces {
                let field = format!("{first}{second}{third}");
                for spec in [format!("{field} * * * *"), format!("0 0 {field} {field} {field} {field}"), field.clone()]
                {
                    if let Ok(cron) = Cron::parse(&spec) {
                        let _next = cron.next_after(at("2026-11-21T00:00:00Z"), &TimeZone::UTC);
                    }
                }
            }
        }
    }
}
