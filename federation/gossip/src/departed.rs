//! Members that are gone and not yet forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ident::{Ident, Key};
use crate::member::{Member, MemberStatus};

/// The most that are remembered; the one that is gone longest goes first.
const DEPARTED_MAX: usize = 512;

#[derive(Debug)]
struct Entry {
    ident: Ident,
    since: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Departed(BTreeMap<Key, Entry>);

impl Departed {
    /// Takes this one in, unless a newer identity of the same member is there.
    pub(crate) fn insert(&mut self, ident: Ident, now: Duration) {
        let known = self.0.get(&ident.key());
        if known.is_some_and(|known| known.ident > ident) {
            return;
        }
        let since = known.map_or(now, |known| known.since);
        self.0.insert(ident.key(), Entry { ident, since });
        if self.0.len() > DEPARTED_MAX {
            let oldest = self.0.iter().min_by_key(|(_, entry)| entry.since).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.0.remove(&key));
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Ident> {
        self.0.remove(key).map(|entry| entry.ident)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Ident> {
        self.0.get(key).map(|entry| &entry.ident)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Ident> {
        self.0.values().map(|entry| &entry.ident)
    }

    pub(crate) fn failed(&self) -> Vec<&Ident> {
        self.iter().filter(|ident| ident.departed_status() == MemberStatus::Failed).collect()
    }

    /// Forgets those that are gone for longer than `failed_max` or `left_max`, and names them.
    pub(crate) fn reap(&mut self, now: Duration, failed_max: Duration, left_max: Duration) -> Vec<Member> {
        let is_over = |entry: &Entry| {
            let max = if entry.ident.is_leaving { left_max } else { failed_max };
            now.saturating_sub(entry.since) >= max
        };
        let over: Vec<Key> = self.0.iter().filter(|(_, entry)| is_over(entry)).map(|(key, _)| key.clone()).collect();
        let removed = over.iter().filter_map(|key| self.remove(key));
        removed.map(|ident| ident.with_status(ident.departed_status())).collect()
    }
}
