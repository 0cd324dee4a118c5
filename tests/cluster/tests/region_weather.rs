//! Three servers whose packets are lost, late, doubled and mixed, by a seed: writes go on, leaders stay, and one that dies is
//! replaced.
//!
//! Longer: `DROVER_WEATHER_WRITES=5000 cargo test -p drover-cluster --test region_weather`. `DROVER_SEED` has the weather again.
#![allow(clippy::unwrap_used, reason = "a test that panics says where")]

use std::time::{Duration, Instant};

use drover_cluster::dice::{Dice, size};
use drover_cluster::region::{Region, WHOLE_MAX};
use drover_cluster::writers::{Writers, read_back};
use drover_harness::wait_for;
use drover_harness::weather::Weather;

/// Writers of each server: every write is on a long way.
const WRITERS_EACH: usize = 4;
/// So many elections come about by themselves, however short it takes: a machine that stands still for a second has one.
const ELECTIONS_ANYWAY: u64 = 2;

/// The term of a server's log.
fn term(region: &Region, number: usize) -> u64 {
    let stats = wait_for("an answer", WHOLE_MAX, || region.get(number, "/v1/agent/self"));
    stats["stats"]["raft"]["term"].as_str().unwrap().parse().unwrap()
}

/// Writes in that weather, then the leader dies in it, comes back, and everything is there. `reign` is how long leaders stay, one with
/// the other: that many elections a slow machine has no more of than a fast one.
fn weather(name: &str, weather: Weather, more: &str, reign: Duration) {
    let writes = size("DROVER_WEATHER_WRITES", 100);
    let dice = Dice::of_environment(name);
    let mut region = Region::relayed(name, 3, weather, dice, more);
    let writers = Writers::start_more(&region, WRITERS_EACH);
    writers.wait_for_more(20, &region);
    let (begin, before) = (Instant::now(), term(&region, 0));
    writers.wait_for_more(writes, &region);
    let elections = term(&region, 0) - before;
    let lost = region.relay().unwrap().dropped();
    let took = begin.elapsed();
    println!("{name}: {writes} writes in {took:?}, {elections} elections, {lost} packets lost");
    let elections_max = ELECTIONS_ANYWAY + took.as_secs() / reign.as_secs();
    assert!(elections <= elections_max, "{elections} elections in {took:?} without a reason: {}", region.logs());

    let leader = region.wait_for_leader();
    region.kill_9(&[leader]);
    let begin = Instant::now();
    writers.wait_for_more(20, &region);
    println!("{name}: 20 writes {:?} after the leader's death", begin.elapsed());
    region.start_again(leader);
    region.wait_until_whole();
    writers.wait_for_more(20, &region);
    let written = writers.stop();
    region.relay().unwrap().set_weather(Weather::FAIR);
    region.wait_until_whole();
    read_back(&region, &written);
}

#[test]
fn a_bad_line_slows_writes_and_nothing_else() {
    // Heartbeats go over streams: what is lost is sent again, later than an election's shortest time now and then.
    weather("weather-rough", Weather::ROUGH, "", Duration::from_secs(4));
}

#[test]
fn servers_far_apart_keep_their_leader_with_a_multiplier() {
    // Where heartbeats take longer than an election's shortest time there would be several each second.
    weather("weather-far", Weather::FAR, "server {\n  raft_multiplier = 5\n}\n", Duration::from_secs(10));
}
