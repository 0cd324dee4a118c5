//! When packets arrive that go through bad weather: some are lost, all are late, some overtake, some come twice.
//!
//! Pure: time and chance are handed in, so a seed has the same weather again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::dice::Dice;

/// What happens between any two places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Of a thousand packets, so many are lost.
    pub lost: usize,
    /// Of a thousand packets, so many come twice.
    pub twice: usize,
    /// Of a thousand packets, so many wait so long that later ones overtake them.
    pub late: usize,
    /// How long every packet is on its way, at least.
    pub delay: Duration,
    /// How much longer it may be.
    pub jitter: Duration,
}

impl Weather {
    /// Packets arrive at once and in order.
    pub const FAIR: Self = Self { lost: 0, twice: 0, late: 0, delay: Duration::ZERO, jitter: Duration::ZERO };

    /// A bad line: 5 in 100 lost, 1 doubled, 5 overtaken, 5 to 15 ms each way.
    pub const ROUGH: Self =
        Self { lost: 50, twice: 10, late: 50, delay: Duration::from_millis(5), jitter: Duration::from_millis(10) };

    /// A line across the world: 1 in 100 lost, 50 to 80 ms each way.
    pub const FAR: Self =
        Self { lost: 10, twice: 0, late: 10, delay: Duration::from_millis(50), jitter: Duration::from_millis(30) };
}

/// A late packet waits so much longer than the others.
const LATE: Duration = Duration::from_millis(30);
/// Packets on their way; beyond, a new one is lost, as in any queue.
const UNDER_WAY_MAX: usize = 20_000;

/// A packet that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<P> {
    /// Where from.
    pub from: P,
    /// Where to.
    pub to: P,
    /// What.
    pub bytes: Vec<u8>,
}

/// Everything that is on its way.
#[derive(Debug)]
pub struct Sky<P> {
    weather: Weather,
    dice: Dice,
    cuts: BTreeSet<(P, P)>,
    under_way: BTreeMap<(Duration, u64), Packet<P>>,
    next: u64,
    dropped: u64,
}

impl<P: Clone + Ord> Sky<P> {
    /// With nothing on its way.
    pub fn new(weather: Weather, dice: Dice) -> Self {
        Self { weather, dice, cuts: BTreeSet::new(), under_way: BTreeMap::new(), next: 0, dropped: 0 }
    }

    /// From now on it is like that; what is on its way arrives as it would have.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// From now on nothing arrives that one sends to another.
    pub fn cut(&mut self, from: P, to: P) {
        self.cuts.insert((from, to));
    }

    /// Nothing is cut any more.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// How many packets were lost so far.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes a packet at a time. `between` says which cut would lose it.
    pub fn send(&mut self, now: Duration, between: &(P, P), packet: Packet<P>) {
        // Rolled in any case: a cut does not change what happens to others.
        let is_lost = self.one_of_thousand(self.weather.lost);
        let is_twice = self.one_of_thousand(self.weather.twice);
        if is_lost || self.cuts.contains(between) || self.under_way.len() >= UNDER_WAY_MAX {
            self.dropped += 1;
            return;
        }
        for _ in 0..=usize::from(is_twice) {
            let late = if self.one_of_thousand(self.weather.late) { LATE } else { Duration::ZERO };
            let jitter_us = self.dice.roll(self.weather.jitter.as_micros() as usize + 1) as u64;
            let at = now + self.weather.delay + late + Duration::from_micros(jitter_us);
            self.next += 1;
            self.under_way.insert((at, self.next), packet.clone());
        }
    }

    fn one_of_thousand(&mut self, chances: usize) -> bool {
        self.dice.roll(1000) < chances
    }

    /// The next packet that has arrived by now.
    pub fn arrived(&mut self, now: Duration) -> Option<Packet<P>> {
        let entry = self.under_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next one arrives.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.under_way.keys().next().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends that many packets a millisecond apart; gives the numbers in the order of their arrival.
    fn fly(weather: Weather, seed: u64, count: u32) -> Vec<u32> {
        let mut sky = Sky::new(weather, Dice::new(seed));
        let mut arrived = Vec::new();
        for number in 0..count + 1000 {
            let now = Duration::from_millis(u64::from(number));
            if number < count {
                sky.send(now, &(1, 2), Packet { from: 1, to: 2, bytes: number.to_be_bytes().to_vec() });
            }
            while let Some(packet) = sky.arrived(now) {
                arrived.push(u32::from_be_bytes(packet.bytes.try_into().unwrap()));
            }
        }
        assert_eq!(sky.next_arrival(), None);
        arrived
    }

    #[test]
    fn fair_weather_changes_nothing() {
        assert_eq!(fly(Weather::FAIR, 1, 500), (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_has_the_same_weather_again() {
        assert_eq!(fly(Weather::ROUGH, 7, 2000), fly(Weather::ROUGH, 7, 2000));
        assert_ne!(fly(Weather::ROUGH, 7, 2000), fly(Weather::ROUGH, 8, 2000));
    }

    #[test]
    fn rough_weather_loses_doubles_and_mixes() {
        let arrived = fly(Weather::ROUGH, 3, 10_000);
        let mut once = arrived.clone();
        once.sort_unstable();
        once.dedup();
        let lost = 10_000 - once.len();
        assert!((400..600).contains(&lost), "{lost} lost");
        assert!((60..140).contains(&(arrived.len() - once.len())), "{} twice", arrived.len() - once.len());
        assert!(arrived.windows(2).filter(|pair| pair[0] > pair[1]).count() > 300, "nobody overtook");
    }

    #[test]
    fn a_cut_goes_one_way_until_it_is_healed() {
        let mut sky = Sky::new(Weather::FAIR, Dice::new(1));
        let passes = |sky: &mut Sky<u8>, from, to| {
            sky.send(Duration::ZERO, &(from, to), Packet { from, to, bytes: Vec::new() });
            sky.arrived(Duration::ZERO).is_some()
        };
        sky.cut(1, 2);
        assert!(!passes(&mut sky, 1, 2));
        assert!(passes(&mut sky, 2, 1));
        sky.heal();
        assert!(passes(&mut sky, 1, 2));
        assert_eq!(sky.dropped(), 1);
    }
}
