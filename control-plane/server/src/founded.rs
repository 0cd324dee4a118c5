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

    /// Notes that the region is founded by that server now, and the other tokens for it. It is on the disk when this returns.
    pub fn add(dir: &Path, region: &str, node: &str, others: BTreeSet<JoinTokenId>) -> Result<(), String> {
        let mut founded = Self::read(dir)?;
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
        assert!(admits("west", 1, "a"));
        Founded::add(dir.path(), "west", "a", BTreeSet::from([token(2)])).unwrap();
        assert!(!admits("west", 2, "b"));
        assert!(admits("west", 2, "a"), "its first server may ask again");
        assert!(admits("west", 3, "b"), "made later, on purpose");
        assert!(admits("north", 2, "b"));
        Founded::add(dir.path(), "west", "b", BTreeSet::from([token(4)])).unwrap();
        assert!(!admits("west", 2, "a") && !admits("west", 4, "c"));
        std::fs::write(path(dir.path()), "{").unwrap();
        assert!(Founded::read(dir.path()).unwrap_err().contains(FILE));
    }
}
