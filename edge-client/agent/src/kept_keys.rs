//! Under which names the edge's store keeps allocs: what is wanted of each, and how it stands.

use std::collections::BTreeMap;

use drover_model::AllocId;

const WANTED: &str = "wanted/";
const ACTUAL: &str = "actual/";

/// Where it stands what is wanted of an alloc.
pub fn wanted_key(alloc: AllocId) -> String {
    format!("{WANTED}{alloc}")
}

/// Where it stands how an alloc is.
pub fn actual_key(alloc: AllocId) -> String {
    format!("{ACTUAL}{alloc}")
}

/// The alloc that a key tells the wish for; none for any other key.
pub fn alloc_of(key: &str) -> Option<AllocId> {
    key.strip_prefix(WANTED)?.parse().ok()
}

/// Keys of allocs of which nothing is wanted any more: an agent was killed between the two that it deletes. Nobody would ever ask for
/// them again.
pub fn orphans(values: &BTreeMap<String, Vec<u8>>) -> impl Iterator<Item = &String> {
    let is_wanted = |alloc: &str| values.contains_key(&format!("{WANTED}{alloc}"));
    values.keys().filter(move |key| key.strip_prefix(ACTUAL).is_some_and(|alloc| !is_wanted(alloc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_alloc_is_that_nobody_wants_is_of_no_use() {
        let [kept, gone] = [1, 2].map(|byte| AllocId::from_random([byte; 16]));
        assert_eq!(
            (alloc_of(&wanted_key(kept)), alloc_of(&actual_key(kept)), alloc_of("servers")),
            (Some(kept), None, None)
        );
        let keys = [wanted_key(kept), actual_key(kept), actual_key(gone), "servers".to_owned()];
        let values = keys.into_iter().map(|key| (key, Vec::new())).collect();
        assert_eq!(orphans(&values).collect::<Vec<_>>(), [&actual_key(gone)]);
    }
}
