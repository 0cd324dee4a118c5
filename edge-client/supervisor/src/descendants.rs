//! Finding a task's processes where there is no cgroup to list them: by session and by descent.
//!
//! Weaker than a cgroup: a process that left the session and whose parent has ended is not found.

use std::collections::{BTreeMap, BTreeSet};

use crate::sys;

/// What `/proc/<pid>/stat` says of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Relation {
    parent: i32,
    session: i32,
}

/// Kills all that belong to the session or the descent of `main`, itself included unless it has ended.
pub(crate) fn kill(main: i32) {
    for pid in find(main, &relations()) {
        let _ = sys::kill(pid, libc::SIGKILL);
    }
}

fn relations() -> BTreeMap<i32, Relation> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, relation(&std::fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

fn relation(stat: &str) -> Option<Relation> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Relation { parent, session })
}

fn find(main: i32, relations: &BTreeMap<i32, Relation>) -> BTreeSet<i32> {
    let mut found = BTreeSet::from([main]);
    loop {
        let before = found.len();
        for (pid, relation) in relations {
            if relation.session == main || found.contains(&relation.parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_are_found() {
        let of = |line: &str| relation(line).map(|relation| (relation.parent, relation.session));
        assert_eq!(of("7 (a (b) c) S 3 7 5 0 -1"), Some((3, 5)));
        assert_eq!(of("7 broken"), None);
        let table = [(10, 1, 10), (11, 10, 10), (12, 11, 12), (13, 1, 10), (20, 1, 20), (21, 20, 20)];
        let table = table.into_iter().map(|(pid, parent, session)| (pid, Relation { parent, session })).collect();
        assert_eq!(find(10, &table), BTreeSet::from([10, 11, 12, 13]));
        assert_eq!(find(20, &table), BTreeSet::from([20, 21]));
    }
}
