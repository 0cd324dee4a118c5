//! Which ended allocs a node gives up, oldest first, and why. Until then their logs and files can be read.
//!
//! Never one that runs, whose end the servers do not know, or whose data an alloc waits for that takes its place.

use drover_model::{AllocId, Timestamp};

/// Bounds of what a node keeps of ended allocs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GcLimits {
    /// Ended allocs go while the file system of the allocs is fuller than this, in percent.
    pub disk_used_max_percent: f64,
    /// Ended allocs go while more of that file system's inodes are in use, in percent.
    pub inodes_used_max_percent: f64,
    /// Ended allocs go while there are more allocs than this, running ones included.
    pub allocs_max: usize,
    /// Allocs that are removed at a time.
    pub parallel_max: usize,
}

impl Default for GcLimits {
    fn default() -> Self {
        Self { disk_used_max_percent: 80.0, inodes_used_max_percent: 70.0, allocs_max: 50, parallel_max: 2 }
    }
}

/// How full the file system of the allocs is, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DiskUse {
    /// Of its bytes.
    pub bytes_percent: f64,
    /// Of its inodes.
    pub inodes_percent: f64,
}

/// One alloc of the node, as far as this decision needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub id: AllocId,
    /// Nothing of it runs, and nothing of it will.
    pub is_over: bool,
    /// It has its directories.
    pub has_begun: bool,
    /// The servers have acknowledged its end.
    pub is_end_known: bool,
    /// An alloc that takes its place has not begun yet, and may want its data.
    pub is_needed: bool,
    /// Somebody wants it gone.
    pub is_asked: bool,
    /// It is being removed.
    pub is_going: bool,
    /// When its last task ended.
    pub ended_at: Timestamp,
}

impl Kept {
    /// It may go.
    pub fn may_go(&self) -> bool {
        self.is_over && self.is_end_known && !self.is_needed && !self.is_going
    }
}

/// Why an alloc goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody wants it.
    Asked,
    /// The node has too many.
    AllocsMax,
    /// The disk is too full.
    Disk,
    /// Too many inodes are in use.
    Inodes,
}

impl Reason {
    /// In words, for the log.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Asked => "it was asked for",
            Reason::AllocsMax => "there are more allocs than gc_max_allocs",
            Reason::Disk => "the disk is fuller than gc_disk_usage_threshold",
            Reason::Inodes => "more inodes are in use than gc_inode_usage_threshold",
        }
    }
}

/// Which allocs go now, with the reasons. `coming` new ones are about to be added. Of those that a full disk costs, only as many go as
/// are removed at a time: then it is looked how full it still is.
pub fn collect(kept: &[Kept], coming: usize, disk: DiskUse, limits: GcLimits) -> Vec<(AllocId, Reason)> {
    let going = kept.iter().filter(|alloc| alloc.is_going).count();
    let seats = limits.parallel_max.max(1).saturating_sub(going);
    let surplus = (kept.len() - going + coming).saturating_sub(limits.allocs_max);
    let pressure = if disk.bytes_percent > limits.disk_used_max_percent {
        Some(Reason::Disk)
    } else if disk.inodes_percent > limits.inodes_used_max_percent {
        Some(Reason::Inodes)
    } else {
        None
    };
    let mut can_go: Vec<&Kept> = kept.iter().filter(|alloc| alloc.may_go()).collect();
    // The id settles it where two ended at once.
    can_go.sort_by_key(|alloc| (!alloc.is_asked, alloc.ended_at, alloc.id));
    let reason = |(place, alloc): (usize, &Kept)| {
        let reason = if alloc.is_asked {
            Reason::Asked
        } else if place < surplus {
            Reason::AllocsMax
        } else {
            pressure?
        };
        Some((alloc.id, reason))
    };
    can_go.into_iter().enumerate().map_while(reason).take(seats).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: DiskUse = DiskUse { bytes_percent: 10.0, inodes_percent: 10.0 };

    fn id(number: u8) -> AllocId {
        AllocId::from_random([number; 16])
    }

    /// An alloc that ended at that second and may go.
    fn ended(number: u8, at: i64) -> Kept {
        let ended_at = Timestamp(at * 1_000_000_000);
        Kept { id: id(number), is_over: true, is_end_known: true, ended_at, ..Kept::default() }
    }

    fn runs(number: u8) -> Kept {
        Kept { id: id(number), ..Kept::default() }
    }

    fn check(kept: &[Kept], coming: usize, disk: DiskUse, limits: GcLimits, expected: &[(u8, Reason)]) {
        let expected: Vec<_> = expected.iter().map(|(number, reason)| (id(*number), *reason)).collect();
        assert_eq!(collect(kept, coming, disk, limits), expected, "{kept:?} {coming} {disk:?} {limits:?}");
    }

    fn at_most(allocs_max: usize, parallel_max: usize) -> GcLimits {
        GcLimits { allocs_max, parallel_max, ..GcLimits::default() }
    }

    #[test]
    fn the_oldest_go_while_there_are_too_many() {
        use Reason::AllocsMax;
        let kept = [ended(1, 30), ended(2, 10), runs(3), ended(4, 20)];
        check(&kept, 0, CALM, at_most(4, 9), &[]);
        check(&kept, 0, CALM, at_most(3, 9), &[(2, AllocsMax)]);
        check(&kept, 1, CALM, at_most(4, 9), &[(2, AllocsMax)]);
        check(&kept, 1, CALM, at_most(3, 9), &[(2, AllocsMax), (4, AllocsMax)]);
        check(&kept, 50, CALM, at_most(1, 9), &[(2, AllocsMax), (4, AllocsMax), (1, AllocsMax)]);
        check(&kept, 50, CALM, at_most(1, 2), &[(2, AllocsMax), (4, AllocsMax)]);
        check(&[ended(2, 10), ended(1, 10)], 0, CALM, at_most(1, 9), &[(1, AllocsMax)]);
    }

    #[test]
    fn a_full_disk_costs_as_many_as_are_removed_at_a_time() {
        use Reason::{AllocsMax, Disk, Inodes};
        let kept = [ended(1, 1), ended(2, 2), ended(3, 3)];
        let full = DiskUse { bytes_percent: 80.1, inodes_percent: 0.0 };
        let no_inodes = DiskUse { bytes_percent: 80.0, inodes_percent: 70.1 };
        let at_the_limits = DiskUse { bytes_percent: 80.0, inodes_percent: 70.0 };
        check(&kept, 0, full, at_most(50, 2), &[(1, Disk), (2, Disk)]);
        check(&kept, 0, no_inodes, at_most(50, 1), &[(1, Inodes)]);
        check(&kept, 0, at_the_limits, at_most(50, 2), &[]);
        check(&kept, 0, full, at_most(2, 2), &[(1, AllocsMax), (2, Disk)]);
        check(&kept, 0, full, at_most(50, 0), &[(1, Disk)]);
    }

    #[test]
    fn what_is_asked_for_goes_first() {
        use Reason::{AllocsMax, Asked};
        let asked = Kept { is_asked: true, ..ended(3, 30) };
        check(&[ended(1, 10), asked], 0, CALM, at_most(50, 2), &[(3, Asked)]);
        // It makes the room as well.
        check(&[ended(1, 10), asked], 0, CALM, at_most(1, 2), &[(3, Asked)]);
        check(&[ended(1, 10), asked], 1, CALM, at_most(1, 2), &[(3, Asked), (1, AllocsMax)]);
        check(&[Kept { is_asked: true, ..runs(1) }], 0, CALM, at_most(50, 2), &[]);
    }

    #[test]
    fn what_somebody_needs_stays() {
        let full = DiskUse { bytes_percent: 100.0, inodes_percent: 100.0 };
        let needed = Kept { is_needed: true, is_asked: true, ..ended(1, 1) };
        let untold = Kept { is_end_known: false, is_asked: true, ..ended(2, 1) };
        check(&[runs(3), needed, untold], 9, full, at_most(1, 9), &[]);
    }

    #[test]
    fn those_that_go_already_count_as_gone_and_take_a_seat() {
        use Reason::AllocsMax;
        let going = Kept { is_going: true, ..ended(1, 1) };
        check(&[going, ended(2, 2), ended(3, 3)], 0, CALM, at_most(2, 2), &[]);
        check(&[going, ended(2, 2), ended(3, 3)], 2, CALM, at_most(2, 2), &[(2, AllocsMax)]);
        check(&[going, ended(2, 2)], 9, CALM, at_most(1, 1), &[]);
    }
}
