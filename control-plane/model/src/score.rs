//! The parts of a node's score. Every alloc keeps those of five nodes, so they are kept as short as can be: a bit for each part
//! that is there, and the numbers that are not zero.

use std::fmt;

use serde::de::MapAccess;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::small_map::SmallMap;
use crate::text::Text;

/// The parts that schedulers give, by name.
const PARTS: [&str; 6] =
    ["allocation-spread", "binpack", "devices", "job-anti-affinity", "node-affinity", "node-reschedule-penalty"];

/// The parts of a node's score by name.
#[derive(Clone, Default, PartialEq)]
pub struct Scores {
    /// A bit for each of [`PARTS`] that is there.
    known: u8,
    /// A bit for each that is there and not zero.
    nonzero: u8,
    /// Those, in the order of their names.
    values: Box<[f64]>,
    /// Parts of other names, as another scheduler may have given them.
    others: Option<Box<SmallMap<Text, f64>>>,
}

impl Scores {
    /// The parts by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, f64)> {
        let mut values = self.values.iter();
        let mut parts: Vec<(&str, f64)> = Vec::with_capacity(PARTS.len());
        for (place, name) in PARTS.iter().enumerate() {
            if self.known & 1 << place != 0 {
                let is_zero = self.nonzero & 1 << place == 0;
                parts.push((name, if is_zero { 0.0 } else { values.next().copied().unwrap_or_default() }));
            }
        }
        if let Some(others) = &self.others {
            parts.extend(others.iter().map(|(name, value)| (name.as_str(), *value)));
            parts.sort_by_key(|(name, _)| *name);
        }
        parts.into_iter()
    }

    /// The part of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter().find(|(part, _)| *part == name).map(|(_, value)| value)
    }
}

impl<T: AsRef<str>> FromIterator<(T, f64)> for Scores {
    /// Of parts of the same name the last counts.
    fn from_iter<I: IntoIterator<Item = (T, f64)>>(parts: I) -> Self {
        let mut found = Found::default();
        parts.into_iter().for_each(|(name, value)| found.add(Part::of(name.as_ref()), value));
        found.scores()
    }
}

/// What a part is called: its place in [`PARTS`], or another name.
enum Part {
    Known(usize),
    Other(Text),
}

impl Part {
    fn of(name: &str) -> Self {
        PARTS.iter().position(|part| *part == name).map_or_else(|| Self::Other(name.into()), Self::Known)
    }
}

/// Parts that come one after the other.
#[derive(Default)]
struct Found {
    known: u8,
    values: [f64; PARTS.len()],
    others: Option<Box<SmallMap<Text, f64>>>,
}

impl Found {
    fn add(&mut self, part: Part, value: f64) {
        match part {
            Part::Known(place) => {
                self.known |= 1 << place;
                self.values[place] = value;
            }
            Part::Other(name) => {
                self.others.get_or_insert_default().insert(name, value);
            }
        }
    }

    fn scores(self) -> Scores {
        // A zero that bears a sign is another number to whoever compares states.
        let is_nonzero = |place: &usize| self.known & 1 << place != 0 && self.values[*place].to_bits() != 0;
        let nonzero = (0..PARTS.len()).filter(is_nonzero).fold(0, |bits, place| bits | 1 << place);
        let (mut values, mut next) = ([0.0; PARTS.len()], 0);
        for place in (0..PARTS.len()).filter(|place| nonzero & 1 << place != 0) {
            values[next] = self.values[place];
            next += 1;
        }
        Scores { known: self.known, nonzero, values: values[..next].into(), others: self.others }
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_str(PartVisitor)
    }
}

struct PartVisitor;

impl serde::de::Visitor<'_> for PartVisitor {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Part, E> {
        Ok(Part::of(name))
    }
}

impl<T: AsRef<str>, const N: usize> From<[(T, f64); N]> for Scores {
    fn from(parts: [(T, f64); N]) -> Self {
        parts.into_iter().collect()
    }
}

impl fmt::Debug for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self.iter())
    }
}

struct ScoresVisitor;

impl<'de> serde::de::Visitor<'de> for ScoresVisitor {
    type Value = Scores;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of numbers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scores, A::Error> {
        let mut found = Found::default();
        while let Some((part, value)) = map.next_entry()? {
            found.add(part, value);
        }
        Ok(found.scores())
    }
}

impl<'de> Deserialize<'de> for Scores {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(ScoresVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn parts_are_those_that_were_given() {
        assert!(PARTS.is_sorted());
        let check = |parts: &[(&str, f64)]| {
            let as_map: BTreeMap<&str, f64> = parts.iter().copied().collect();
            let scores: Scores = parts.iter().copied().collect();
            let json = serde_json::to_string(&scores).unwrap();
            assert_eq!(json, serde_json::to_string(&as_map).unwrap());
            let read: Scores = serde_json::from_str(&json).unwrap();
            assert_eq!(read, scores);
            let bits = |value: f64| value.to_bits();
            assert!(
                read.iter().map(|(name, value)| (name, bits(value))).eq(as_map.into_iter().map(|(n, v)| (n, bits(v))))
            );
        };
        check(&[]);
        check(&[("binpack", 0.5)]);
        check(&[
            ("binpack", 0.5),
            ("job-anti-affinity", 0.0),
            ("node-affinity", -0.0),
            ("node-reschedule-penalty", -1.0),
        ]);
        check(&[("binpack", 0.0), ("allocation-spread", 1.0), ("preemption", 0.25), ("a", 1.0), ("zone", 0.0)]);
        assert_eq!(Scores::from([("binpack", 0.5), ("zone", 2.0)]).get("zone"), Some(2.0));
        assert_eq!(Scores::from([("binpack", 0.5)]).get("devices"), None);
    }
}
