//! Of which allocs on a node servers have wanted something else lately: an edge that listens is told of these, and nobody looks at
//! all that the node has. What is not remembered is looked for among all.

use drover_model::AllocId;
use imbl::OrdSet;

/// The most changes that are remembered of one node.
const CHANGES_MAX: usize = 64;

/// The last changes of what servers want of a node's allocs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recent {
    /// No change of that raft index or a later one is missing.
    from: u64,
    changes: OrdSet<(u64, AllocId)>,
}

impl Recent {
    /// At that raft index servers have changed what they want of an alloc.
    pub(crate) fn note(&mut self, index: u64, id: AllocId) {
        self.changes.insert((index, id));
        while self.changes.len() > CHANGES_MAX {
            let Some(oldest) = self.changes.get_min().copied() else { return };
            self.changes.remove(&oldest);
            self.from = oldest.0 + 1;
        }
    }

    /// What changed at that raft index and later; none where that is not remembered.
    pub(crate) fn since(&self, index: u64) -> Option<impl Iterator<Item = AllocId> + use<'_>> {
        let changes = self.changes.range((index, AllocId::default())..);
        (self.from <= index).then(|| changes.map(|(_, id)| *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_remembered_is_not_given_in_part() {
        let mut recent = Recent::default();
        let id = |number: u64| AllocId::from(u128::from(number).to_be_bytes());
        let last = CHANGES_MAX as u64 + 10;
        (1..=last).for_each(|index| recent.note(index, id(index)));
        let since = |index: u64| recent.since(index).map(|ids| ids.collect::<Vec<_>>());
        assert_eq!(since(last), Some(vec![id(last)]));
        assert_eq!(since(last + 1), Some(vec![]));
        assert_eq!(since(11).map(|ids| ids.len()), Some(CHANGES_MAX));
        assert_eq!((since(10), since(0)), (None, None));
        // Of an entry that is too large for it nothing is given.
        (0..200).for_each(|number| recent.note(last + 5, id(number)));
        assert_eq!(recent.since(last + 5).map(Iterator::count), None);
        assert_eq!(recent.since(last + 6).map(Iterator::count), Some(0));
    }
}
