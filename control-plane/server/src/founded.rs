//! Which regions were founded here, and by which servers: two tokens must not make two authorities for one name.
//!
//! Only the server with the root's key founds regions, so a list on its disk knows of all of them. A token that was there when the
//! region was founded with another one founds it no more; one that is made later, because the region is gone, does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drover_model::{JoinTokenId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

use crate::authority::write_private;
use crate::join_tokens::JOIN_TOKEN_TTL_MAX;

const FILE: &str = "founded-regions.json";
/// The most regions in the list.
const REGIONS_MAX: usize = 1024;
/// The most tokens that are remembered for a region.
const TOKENS_MAX: usize = 1024;
/// A token that ended so long ago founds nothing any more, also when a clock is set back.
pub(crate) const OVER_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The list.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founded(BTreeMap<String, Founding>);

/// How a region was founded.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Founding {
    /// The id of its first server, which may not have got its keys and asks again.
    node: String,
    /// Tokens that came too late, and when each ends; none where that is not known, as in what was written before it was kept.
    #[serde(deserialize_with = "with_ends")]
    void: BTreeMap<JoinTokenId, Option<Timestamp>>,
}

fn with_ends<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<JoinTokenId, Option<Timestamp>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Void {
        Ends(BTreeMap<JoinTokenId, Option<Timestamp>>),
        Ids(BTreeSet<JoinTokenId>),
    }
    Ok(match Void::deserialize(from)? {
        Void::Ends(ends) => ends,
        Void::Ids(ids) => ids.into_iter().map(|id| (id, None)).collect(),
    })
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

fn unusable(dir: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", path(dir).display())
}

impl Founded {
    /// The list in that data directory; empty when there is none.
    pub fn read(dir: &Path) -> Result<Self, String> {
        match std::fs::read(path(dir)) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| unusable(dir, &error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(unusable(dir, &error)),
        }
    }

    /// That server may found the region with that token.
    pub fn admits(&self, region: &str, token: JoinTokenId, node: &str) -> bool {
        self.0.get(region).is_none_or(|founding| founding.node == node || !founding.void.contains_key(&token))
    }

    /// Notes that the region is founded by that server now, and the other tokens for it with their ends. Those that ended long ago
    /// are forgotten, and regions without others: by their ends alone, since what a server has heard of may be less than what there
    /// is. It is on the disk when this returns, and blocks until then.
    pub fn add(
        dir: &Path,
        region: &str,
        node: &str,
        others: BTreeMap<JoinTokenId, Timestamp>,
        now: Timestamp,
    ) -> Result<(), String> {
        let mut founded = Self::read(dir)?;
        founded.0.retain(|_, founding| {
            founding.void.values_mut().for_each(|end| {
                // Where nobody has noted it, it can't be later than this.
                end.get_or_insert(now.plus(JOIN_TOKEN_TTL_MAX));
            });
            founding.void.retain(|_, end| end.is_some_and(|end| now < end.plus(OVER_AFTER)));
            !founding.void.is_empty()
        });
        let founding = founded.0.entry(region.to_owned()).or_default();
        node.clone_into(&mut founding.node);
        founding.void.extend(others.into_iter().map(|(token, end)| (token, Some(end))));
        if founding.void.len() > TOKENS_MAX {
            return Err(format!("there are more than {TOKENS_MAX} tokens for region {region}"));
        }
        if founded.0.len() > REGIONS_MAX {
            return Err(format!("{REGIONS_MAX} regions were founded here already"));
        }
        let text = serde_json::to_vec(&founded).map_err(|error| unusable(dir, &error))?;
        write_private(&path(dir), &text).map_err(|error| unusable(dir, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = OVER_AFTER.as_secs() as i64 * 1_000_000_000;

    fn token(number: u8) -> JoinTokenId {
        JoinTokenId::from_random([number; 16])
    }

    fn one(number: u8) -> BTreeMap<JoinTokenId, Timestamp> {
        BTreeMap::from([(token(number), Timestamp(DAY))])
    }

    #[test]
    fn what_was_there_when_a_region_was_founded_founds_it_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let admits =
            |region: &str, number, node: &str| Founded::read(dir.path()).unwrap().admits(region, token(number), node);
        let add = |region: &str, node: &str, void: u8| {
            Founded::add(dir.path(), region, node, one(void), Timestamp(1)).unwrap();
        };
        assert!(admits("west", 1, "a"));
        add("west", "a", 2);
        assert!(!admits("west", 2, "b"));
        assert!(admits("west", 2, "a"), "its first server may ask again");
        assert!(admits("west", 3, "b"), "made later, on purpose");
        assert!(admits("north", 2, "b"));
        add("west", "b", 4);
        assert!(!admits("west", 2, "a") && !admits("west", 4, "c"));
        std::fs::write(path(dir.path()), "{").unwrap();
        assert!(Founded::read(dir.path()).unwrap_err().contains(FILE));
    }

    #[test]
    fn tokens_that_are_over_make_room() {
        let dir = tempfile::tempdir().unwrap();
        let many = |from: u32, end: i64| {
            (from..from + TOKENS_MAX as u32).map(move |number| {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                (JoinTokenId::from_random(bytes), Timestamp(end))
            })
        };
        let add =
            |region: &str, node: &str, others, now: i64| Founded::add(dir.path(), region, node, others, Timestamp(now));
        add("north", "n", one(9), 0).unwrap();
        add("west", "a", many(0, DAY).collect(), 0).unwrap();
        // Nobody has to have heard of them for them to count until a day after their end.
        let full = add("west", "b", one(1), 2 * DAY - 1).unwrap_err();
        assert!(full.contains("more than 1024 tokens for region west"), "{full}");
        add("west", "b", many(5000, 3 * DAY).collect(), 2 * DAY).unwrap();
        let founded = Founded::read(dir.path()).unwrap();
        let west: Vec<_> = founded.0.keys().map(String::as_str).collect();
        assert_eq!((west, founded.0["west"].void.len()), (vec!["west"], TOKENS_MAX));
        assert!(many(5000, 0).all(|(token, _)| !founded.admits("west", token, "c")));
    }

    #[test]
    fn tokens_whose_end_was_not_kept_count_for_as_long_as_one_can() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!("{{\"west\":{{\"node\":\"a\",\"void\":[{}]}}}}", serde_json::to_string(&token(2)).unwrap());
        std::fs::write(path(dir.path()), text).unwrap();
        let admits = || Founded::read(dir.path()).unwrap().admits("west", token(2), "b");
        assert!(!admits());
        let add = |now: i64| Founded::add(dir.path(), "north", "n", BTreeMap::new(), Timestamp(now)).unwrap();
        add(5);
        add(31 * DAY);
        assert!(!admits());
        add(31 * DAY + 5);
        assert!(admits());
    }
}
