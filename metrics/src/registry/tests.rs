//! Intervals, totals and bounds of a registry.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::*;
use crate::filter::Filter;

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn registry(settings: Settings) -> Registry {
    Registry::new(settings)
}

#[test]
fn the_last_interval_that_ended_is_shown() {
    let registry = registry(Settings { base_labels: Labels::new(&[("host", "h")]), ..Settings::default() });
    registry.record(Kind::Counter, "c", &[("job", "web")], 1.0);
    assert_eq!(registry.interval().counters[0].2.count, 1, "nothing has ended yet: what there is so far");
    registry.record(Kind::Counter, "c", &[("job", "web")], 2.0);
    registry.record(Kind::Gauge, "g", &[], 5.0);
    registry.record(Kind::Gauge, "g", &[], 7.0);
    registry.record(Kind::Sample, "s", &[], 1.5);
    registry.roll(at(20));
    registry.record(Kind::Counter, "c", &[("job", "web")], 100.0);
    let shown = registry.interval();
    assert_eq!((shown.began, shown.length), (at(10), at(10)));
    let (name, labels, values) = &shown.counters[0];
    assert_eq!((*name, values.count, values.sum), ("c", 2, 3.0));
    assert_eq!(labels.iter().collect::<Vec<_>>(), [("host", "h"), ("job", "web")]);
    assert_eq!(shown.gauges[0].2, 7.0);
    assert_eq!(shown.samples[0].2.sum, 1.5);
    registry.roll(at(30));
    let shown = registry.interval();
    assert_eq!((shown.began, shown.counters[0].2.sum, shown.gauges.len()), (at(20), 100.0, 0));
}

#[test]
fn totals_go_on_and_gauges_end() {
    let registry = registry(Settings { keeps_quantiles: true, ..Settings::default() });
    for turn in 1..=7_u32 {
        registry.record(Kind::Counter, "c", &[], 1.0);
        registry.record(Kind::Sample, "s", &[], f64::from(turn));
        registry.record(Kind::Counter, "labelled", &[("turn", &turn.to_string())], 1.0);
        registry.roll(at(u64::from(turn) * 10));
    }
    registry.record(Kind::Gauge, "g", &[], 1.0);
    let find = |name| registry.totals().into_iter().find(|(known, _, _)| *known == name);
    assert_eq!(find("c").unwrap().2[0].total.sum, 7.0);
    assert_eq!((find("s").unwrap().2[0].total.sum, find("s").unwrap().2[0].quantiles), (28.0, [7.0; 3]));
    assert_eq!(find("labelled").unwrap().2.len(), 7);
    for turn in 8..15 {
        registry.roll(at(turn * 10));
    }
    assert!(find("g").is_none());
    for turn in 15..75 {
        registry.roll(at(turn * 10));
    }
    assert!(find("labelled").is_none() && find("c").is_some());
}

#[test]
fn series_are_bounded_and_the_rest_is_counted() {
    let registry = registry(Settings { series_max: 5, label_sets_max: 3, ..Settings::default() });
    for number in 0..10 {
        registry.record(Kind::Gauge, "many", &[("n", &number.to_string())], 1.0);
    }
    registry.record(Kind::Gauge, "a", &[], 1.0);
    registry.record(Kind::Gauge, "nan", &[], f64::NAN);
    registry.roll(at(10));
    let shown = registry.interval();
    assert_eq!(shown.gauges.len(), 4);
    assert_eq!((shown.counters[0].0, shown.counters[0].2.sum), (REFUSED, 7.0));
    // Room comes back when gauges end.
    for turn in 2..10 {
        registry.roll(at(turn * 10));
    }
    registry.record(Kind::Gauge, "many", &[("n", "new")], 1.0);
    registry.roll(at(100));
    assert_eq!(registry.interval().gauges.len(), 1);
}

#[test]
fn a_full_registry_says_so() {
    let registry = registry(Settings { series_max: 2, ..Settings::default() });
    for number in 0..5 {
        registry.record(Kind::Gauge, "many", &[("n", &number.to_string())], 1.0);
    }
    registry.roll(at(10));
    let shown = registry.interval();
    assert_eq!(shown.counters.iter().map(|(name, _, of)| (*name, of.sum)).collect::<Vec<_>>(), [(REFUSED, 3.0)]);
}

#[test]
fn left_out_names_and_followers() {
    let filter = Filter::new(&["-out".to_owned()], true).unwrap();
    let registry = registry(Settings::default());
    registry.record(Kind::Gauge, "out.before", &[], 1.0);
    registry.configure(Settings { filter, base_labels: Labels::new(&[("host", "h")]), ..Settings::default() });
    let (sender, receiver) = sync_channel(1);
    registry.follow(sender);
    registry.record(Kind::Counter, "out.c", &[], 1.0);
    registry.record(Kind::Counter, "in.c", &[], 1.0);
    registry.record(Kind::Counter, "in.c", &[], 1.0);
    let labels = Labels::new(&[("host", "h")]);
    assert_eq!(receiver.try_recv().unwrap(), Update { kind: Kind::Counter, name: "in.c", labels, value: 1.0 });
    registry.roll(at(10));
    let shown = registry.interval();
    assert_eq!(shown.counters.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["in.c", UNSENT]);
    assert!(shown.gauges.is_empty());
}
