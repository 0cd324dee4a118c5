//! The indexes in alloc names: which are used, which is the lowest free one.

use std::collections::BTreeSet;

use drover_model::alloc::Alloc;

/// The used indexes of a group.
#[derive(Clone, Debug, Default)]
pub struct NameIndex {
    used: BTreeSet<u32>,
    /// Every index below it is used.
    lowest: u32,
}

impl NameIndex {
    /// Marks the indexes of these allocs as used.
    pub fn of<'a>(allocs: impl IntoIterator<Item = &'a Alloc>) -> Self {
        Self { used: allocs.into_iter().filter_map(Alloc::name_index).collect(), lowest: 0 }
    }

    /// The lowest index that nobody uses; it is used from now on.
    pub fn take_lowest(&mut self) -> u32 {
        while self.used.contains(&self.lowest) {
            self.lowest += 1;
        }
        self.used.insert(self.lowest);
        self.lowest
    }

    /// Uses a certain index; false when it was used already.
    pub fn take(&mut self, index: u32) -> bool {
        self.used.insert(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_index_is_taken() {
        let alloc = |name: &str| Alloc { name: name.to_owned(), ..Alloc::default() };
        let allocs = [alloc("j.g[0]"), alloc("j.g[2]"), alloc("j.g[2]")];
        let mut names = NameIndex::of(&allocs);
        assert_eq!([names.take_lowest(), names.take_lowest(), names.take_lowest()], [1, 3, 4]);
        assert!(!names.take(4) && names.take(7));
    }
}
