//! Labels: what tells the series of one name apart.

/// A label's name or value is cut after so many bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// Pairs of name and value, ordered by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// From pairs in any order; of two with one name the last counts.
    pub fn new(pairs: &[(&str, &str)]) -> Labels {
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let (name, value) = (cut(name), cut(value));
            match kept.iter_mut().find(|(known, _)| **known == *name) {
                Some(known) => known.1 = value.into(),
                None => kept.push((name.into(), value.into())),
            }
        }
        kept.sort();
        Labels(kept.into())
    }

    /// The pairs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These and the others; where both have a name, these count.
    #[must_use]
    pub fn with(&self, others: &Labels) -> Labels {
        let pairs: Vec<(&str, &str)> = others.iter().chain(self.iter()).collect();
        Labels::new(&pairs)
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_count_and_text_is_bounded() {
        assert_eq!(Labels::new(&[("b", "1"), ("a", "2")]), Labels::new(&[("a", "2"), ("b", "1")]));
        let own = Labels::new(&[("host", "own")]);
        let merged = own.with(&Labels::new(&[("host", "h"), ("z", "1")]));
        assert_eq!(merged.iter().collect::<Vec<_>>(), [("host", "own"), ("z", "1")]);
        let long = Labels::new(&[("a", &"ä".repeat(200))]);
        assert_eq!(long.iter().next().unwrap().1.len(), TEXT_BYTES_MAX);
    }
}
