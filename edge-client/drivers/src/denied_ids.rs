//! Users and groups of the host that the operator keeps tasks from.

use std::ops::RangeInclusive;

use crate::task_config::ConfigReader;

/// Most ranges of one list.
const RANGES_MAX: usize = 1000;

/// Numbers and ranges of users and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeniedIds {
    uids: Vec<RangeInclusive<u32>>,
    gids: Vec<RangeInclusive<u32>>,
}

impl DeniedIds {
    /// `denied_host_uids` and `denied_host_gids` of a plugin's `config`.
    pub(crate) fn read(config: &mut ConfigReader<'_>) -> DeniedIds {
        let mut of = |key: &str| {
            let text = config.text(key);
            ranges(&text).unwrap_or_else(|| {
                config.problem(format!(
                    "{key} must be a list of numbers and ranges such as \"0,1000-1999\", got {text:?}"
                ));
                Vec::new()
            })
        };
        DeniedIds { uids: of("denied_host_uids"), gids: of("denied_host_gids") }
    }

    /// Refuses a user (as [`drover_supervisor::users::lookup`] takes it) with a number that is denied. One that is not
    /// known is for the start to refuse.
    pub(crate) fn check(&self, user: &str) -> Result<(), String> {
        if self.uids.is_empty() && self.gids.is_empty() {
            return Ok(());
        }
        let Ok(user) = drover_supervisor::users::lookup(user) else { return Ok(()) };
        self.check_numbers(user.uid, user.groups.iter().chain([&user.gid]))
    }

    fn check_numbers<'a>(&self, uid: u32, gids: impl Iterator<Item = &'a u32>) -> Result<(), String> {
        let has = |ranges: &[RangeInclusive<u32>], id: u32| ranges.iter().any(|range| range.contains(&id));
        if has(&self.uids, uid) {
            return Err(format!("running as host uid {uid} is disallowed"));
        }
        for gid in gids {
            if has(&self.gids, *gid) {
                return Err(format!("running as host gid {gid} is disallowed"));
            }
        }
        Ok(())
    }
}

/// `0,1000-1999` as ranges.
fn ranges(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let ranges: Option<Vec<_>> = parts
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first <= last).then_some(first..=last)
        })
        .collect();
    ranges.filter(|ranges| ranges.len() <= RANGES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_numbers_are_refused_in_words() {
        let denied = DeniedIds { uids: ranges("0, 1000-1999").unwrap(), gids: ranges("42").unwrap() };
        let check = |uid: u32, gid: u32, expected: Result<(), &str>| {
            assert_eq!(denied.check_numbers(uid, [gid].iter()), expected.map_err(str::to_owned));
        };
        check(65534, 0, Ok(()));
        check(0, 0, Err("running as host uid 0 is disallowed"));
        check(1999, 0, Err("running as host uid 1999 is disallowed"));
        check(2000, 42, Err("running as host gid 42 is disallowed"));
        assert_eq!(ranges("5-1"), None);
        assert_eq!(ranges("a"), None);
    }
}
