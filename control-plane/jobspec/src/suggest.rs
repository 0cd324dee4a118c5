//! The known name that a misspelt one was most likely meant to be.

use drover_hcl::suggest::distance;

/// Longer names are not compared.
const NAME_BYTES_MAX: usize = 64;

/// The first known name that differs by fewer than three letters.
pub fn near<'n>(wrong: &str, mut names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > NAME_BYTES_MAX {
        return None;
    }
    names.find(|name| distance(wrong.as_bytes(), name.as_bytes()) < 3)
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
