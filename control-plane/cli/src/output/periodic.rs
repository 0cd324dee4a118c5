//! When a periodic job is launched next.

use drover_cron::{Cron, earliest};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::output::time::Clock;

/// `2026-11-22T03:00:00Z (15h28m32s from now)` in the job's own zone, of the `Periodic` object of a job as the API writes it. None when it names
/// no time, or a zone that this machine does not know.
pub fn next_launch(periodic: &Value, clock: &Clock) -> Option<String> {
    let zone = match periodic["TimeZone"].as_str().unwrap_or_default() {
        "" | "UTC" => TimeZone::UTC,
        name => TimeZone::get(name).ok()?,
    };
    let one = periodic["Spec"].as_str().filter(|spec| !spec.is_empty());
    let several = periodic["Specs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let crons: Vec<Cron> = one.into_iter().chain(several).map(Cron::parse).collect::<Result<_, _>>().ok()?;
    let now = Timestamp::from_nanosecond(i128::from(clock.now_nanos())).ok()?;
    let next = i64::try_from(earliest(&crons, now, &zone)?.as_nanosecond()).ok()?;
    let there = Clock { zone, ..clock.clone() };
    Some(format!("{} ({} from now)", there.absolute(next), clock.until(next)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::output::time::parse_nanos;

    #[test]
    fn the_first_of_several_times() {
        let clock = Clock { fixed_nanos: parse_nanos("2026-11-21T11:31:28Z"), zone: TimeZone::UTC };
        let check = |periodic: Value, expected: Option<&str>| {
            assert_eq!(next_launch(&periodic, &clock).as_deref(), expected, "{periodic}");
        };
        let at_three = "2026-11-22T03:00:00Z (15h28m32s from now)";
        check(json!({ "Spec": "0 3 * * *", "SpecType": "cron", "TimeZone": "UTC" }), Some(at_three));
        check(json!({ "Spec": null, "Specs": ["0 5 * * *", "0 3 * * *"], "TimeZone": null }), Some(at_three));
        let in_berlin = "2026-11-22T03:00:00+01:00 (14h28m32s from now)";
        if TimeZone::get("Europe/Berlin").is_ok() {
            check(json!({ "Spec": "0 3 * * *", "TimeZone": "Europe/Berlin" }), Some(in_berlin));
        }
        check(json!({ "Spec": "0 3 * * *", "TimeZone": "Nowhere/None" }), None);
        check(json!({ "Spec": "nonsense" }), None);
        check(json!({ "Spec": "0 0 1 1 * 2020" }), None);
    }
}
