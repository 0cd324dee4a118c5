//! Near names for a name that was not found.

/// Names longer than this are not compared; nobody misspells one by two letters.
const NAME_BYTES_MAX: usize = 48;
/// How many names are compared; a problem may arise often and must stay cheap.
const NAMES_MAX: usize = 200;

/// The closest of `names`, when it is close enough to be meant.
pub(crate) fn near<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    let close = names
        .filter(|name| name.len() <= NAME_BYTES_MAX && name.len().abs_diff(wrong.len()) <= 2)
        .take(NAMES_MAX)
        .map(|name| (distance(wrong.as_bytes(), name.as_bytes()), name))
        .min()?;
    // One slip in a short name, two in a longer one.
    (close.0 > 0 && close.0 <= 2 && close.0 * 2 <= wrong.len() + 1).then_some(close.1)
}

/// How many letters must be added, dropped or changed to make one of the other. Takes time and space as the product of
/// their lengths: bound what comes from outside.
pub fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::near;

    #[test]
    fn suggests_only_what_is_near() {
        let check = |wrong: &str, expected: Option<&str>| {
            assert_eq!(near(wrong, ["upper", "lower", "join", "sha256"].into_iter()), expected, "{wrong}");
        };
        check("uper", Some("upper"));
        check("jion", Some("join"));
        check("nosuch", None);
        check("x", None);
        check(&"u".repeat(1000), None);
    }
}
