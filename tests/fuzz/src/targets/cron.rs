//! Cron expressions, and the times they name.

use drover_cron::{Cron, earliest};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Target;
use crate::corpus;

pub const TARGET: Target = Target {
    word: "cron",
    what: "a cron expression: parse, and the next times in three time zones",
    corpus: || {
        Ok(corpus::texts(&[
            "*/15 * * * *",
            "0 9 1 * 1",
            "0 0 29 2 *",
            "30 2 * * * *",
            "0/3 * * * * * *",
            "@daily",
            "0 0 L * *",
            "0 0 15W * *",
            "0 0 * * 5#2",
            "0 0 * * 5L",
            "1-5,10-50/7 0,12 1-31/2 JAN-DEC MON-FRI 2030-2040",
            "59 23 31 12 7 2099",
        ]))
    },
    words: &[
        "*",
        "/",
        "-",
        ",",
        "#",
        "L",
        "LW",
        "W",
        "?",
        "@hourly",
        "@yearly",
        "@annually",
        "JAN",
        "DEC",
        "SUN",
        "7",
        "0",
        "31",
        "59",
        "60",
        "1970",
        "2099",
        "2100",
        "*/1",
        "*/0",
        "*/99",
        "1-0",
        " ",
        "\t",
        "4294967296",
        "é",
    ],
    run,
};

fn run(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let cron = match Cron::parse(&text) {
        Ok(cron) => cron,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "what is refused has a reason");
            return false;
        }
    };
    for name in ["UTC", "America/New_York", "Australia/Lord_Howe"] {
        // A machine without a table of zones still has UTC.
        let zone = TimeZone::get(name).unwrap_or(TimeZone::UTC);
        let mut at = Timestamp::UNIX_EPOCH;
        for _ in 0..4 {
            let Some(next) = cron.next_after(at, &zone) else { break };
            assert!(next > at, "time goes on");
            at = next;
        }
        let found = earliest(std::slice::from_ref(&cron), Timestamp::MAX, &zone);
        assert!(found.is_none(), "nothing comes after the last time there is");
    }
    true
}
