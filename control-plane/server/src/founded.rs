//! Which regions were founded here, and by which servers: two tokens must not make two authorities for one name.
//!
//! Only the server with the root's key founds regions, so a list on its disk knows of all of them. A token that was there when the
//! region was founded with another one founds it no more; one that is made later, because the region is gone, does.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use drover_model::JoinTokenId;
use serde::{Deserialize, Serialize};

use crate::authority::write_private;

const FILE: &str = "founded-regions.json";
/// The most regions in the list.
const REGIONS_MAX: usize = 1024;
/// The most tokens that are remembered for a region.
const TOKENS_MAX: usize = 1024;

/// The list.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founded(BTreeMap<String, Founding>);

/// How a region was founded.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Founding {
    /// The id of its first server, which may not have got its keys and asks again.
    node: String,
    /// Tokens that came too late.
    void: BTreeSet<JoinTokenId>,
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
        self.0.get(region).is_none_or(|founding| founding.node == node || !founding.void.contains(&token))
    }

    /// Notes that the region is founded by that server now, and the other tokens for it. Tokens that can't be used any more, as
    /// `is_over` says, are forgotten, and regions without others. It is on the disk when this returns, and blocks until then.
    pub fn add(
        dir: &Path,
        region: &str,
        node: &str,
        others: BTreeSet<JoinTokenId>,
        is_over: impl Fn(&JoinTokenId) -> bool,
    ) -> Result<(), String> {
        let mut founded = Self::read(dir)?;
        founded.0.retain(|_, founding| {
            founding.void.retain(|token| !is_over(token));
            !founding.void.is_empty()
        });
        let founding = founded.0.entry(region.to_owned()).or_default();
        node.clone_into(&mut founding.node);
        founding.void.extend(others);
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

    fn token(number: u8) -> JoinTokenId {
        JoinTokenId::from_random([number; 16])
    }

    #[test]
    fn what_was_there_when_a_region_was_founded_founds_it_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let admits =
            |region: &str, number, node: &str| Founded::read(dir.path()).unwrap().admits(region, token(number), node);
        let add = |region: &str, node: &str, void: u8| {
            Founded::add(dir.path(), region, node, BTreeSet::from([token(void)]), |_| false).unwrap();
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
        let many = |from: u32| {
            (from..from + TOKENS_MAX as u32).map(|number| {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                JoinTokenId::from_random(bytes)
            })
        };
        Founded::add(dir.path(), "north", "n", BTreeSet::from([token(9)]), |_| false).unwrap();
        Founded::add(dir.path(), "west", "a", many(0).collect(), |_| false).unwrap();
        let full = Founded::add(dir.path(), "west", "b", BTreeSet::from([token(1)]), |_| false).unwrap_err();
        assert!(full.contains("more than 1024 tokens for region west"), "{full}");
        let old: BTreeSet<JoinTokenId> = many(0).chain([token(9)]).collect();
        Founded::add(dir.path(), "west", "b", many(5000).collect(), |token| old.contains(token)).unwrap();
        let founded = Founded::read(dir.path()).unwrap();
        let west: Vec<_> = founded.0.keys().map(String::as_str).collect();
        assert_eq!((west, founded.0["west"].void.len()), (vec!["west"], TOKENS_MAX));
        assert!(many(5000).all(|token| !founded.admits("west", token, "c")));
    }
}
