//! A set of port numbers, kept as ranges, and its text form `22,80,8000-8100`.

/// A set of ports. Ranges are sorted, do not overlap and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    // Invariant: sorted, `first <= last`, a gap of at least one port between neighbours; kept by `insert_range`.
    ranges: Vec<(u16, u16)>,
}

/// A text that is not a list of ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part:?} is not a port or a range of ports")]
pub struct ParsePortsError {
    /// The part that can't be read.
    pub part: String,
}

impl PortSet {
    /// Reads `22,80,8000-8100`; blanks around parts are allowed, an empty text is the empty set.
    pub fn parse(text: &str) -> Result<Self, ParsePortsError> {
        let mut set = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let refused = || ParsePortsError { part: part.to_owned() };
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (first.trim(), last.trim()),
                None => (part, part),
            };
            let first: u16 = first.parse().map_err(|_| refused())?;
            let last: u16 = last.parse().map_err(|_| refused())?;
            if first > last {
                return Err(refused());
            }
            set.insert_range(first, last);
        }
        Ok(set)
    }

    /// True when the port is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= port);
        after > 0 && self.ranges[after - 1].1 >= port
    }

    /// Adds a port; false when it was there already.
    pub fn insert(&mut self, port: u16) -> bool {
        let is_new = !self.contains(port);
        if is_new {
            self.insert_range(port, port);
        }
        is_new
    }

    /// Adds all ports of another set.
    pub fn extend(&mut self, other: &PortSet) {
        for &(first, last) in &other.ranges {
            self.insert_range(first, last);
        }
    }

    /// How many ports of the set lie between `first` and `last`, both included.
    pub fn count_between(&self, first: u16, last: u16) -> u32 {
        self.ranges
            .iter()
            .map(|&(from, to)| (from.max(first), to.min(last)))
            .filter(|(from, to)| from <= to)
            .map(|(from, to)| u32::from(to - from) + 1)
            .sum()
    }

    fn insert_range(&mut self, first: u16, last: u16) {
        // Everything that overlaps or touches the new range melts into it.
        let start = self.ranges.partition_point(|&(_, to)| u32::from(to) + 1 < u32::from(first));
        let end = self.ranges.partition_point(|&(from, _)| u32::from(from) <= u32::from(last) + 1);
        let mut merged = (first, last);
        for &(from, to) in &self.ranges[start..end] {
            merged = (merged.0.min(from), merged.1.max(to));
        }
        self.ranges.splice(start..end, [merged]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_ports_parse() {
        let check = |text: &str, expected: Option<&[(u16, u16)]>| {
            assert_eq!(PortSet::parse(text).ok().map(|set| set.ranges), expected.map(<[_]>::to_vec), "{text}");
        };
        check("", Some(&[]));
        check("22,80,8000-8100", Some(&[(22, 22), (80, 80), (8000, 8100)]));
        check(" 80 , 22 ", Some(&[(22, 22), (80, 80)]));
        check("1-3,4,6,5", Some(&[(1, 6)]));
        check("0-65535", Some(&[(0, 65535)]));
        check("5-1", None);
        check("a", None);
        check("70000", None);
    }

    #[test]
    fn membership_and_counts_follow_the_ranges() {
        let mut set = PortSet::parse("22,8000-8100").unwrap();
        assert!(set.contains(8000) && set.contains(8100) && !set.contains(8101) && !set.contains(21));
        assert!(set.insert(23) && !set.insert(22));
        assert_eq!(set.count_between(20, 8009), 12);
        assert_eq!(set.count_between(100, 200), 0);
    }
}
