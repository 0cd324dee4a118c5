//! The known name that a misspelt one was most likely meant to be.

/// Longer names are not compared.
const NAME_BYTES_MAX: usize = 64;

/// The first known name that differs by fewer than three letters.
pub fn near<'n>(wrong: &str, mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    names.find(|name| distance(wrong.as_bytes(), name.as_bytes()) < 3)
}

/// How many letters must be added, dropped or changed.
fn distance(a: &[u8], b: &[u8]) -> usize {
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
    fn names_are_near_when_two_letters_differ() {
        let check = |wrong: &str, expected: Option<&str>| {
            assert_eq!(near(wrong, ["constraint", "resources"].into_iter()), expected, "{wrong}");
        };
        check("resurces", Some("resources"));
        check("restrt", None);
        check(&"r".repeat(1000), None);
    }
}
