//! Which names are kept: rules by prefix, the longest that fits decides.

/// Rules by prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    rules: Vec<(String, bool)>,
    default: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Filter { rules: Vec::new(), default: true }
    }
}

/// A rule that is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    /// Nothing stands in the rule.
    #[error("Cannot have empty filter rule in prefix_filter")]
    Empty,
    /// It says neither keep nor leave out.
    #[error("Filter rule must begin with either '+' or '-': \"{0}\"")]
    NoSign(String),
}

impl Filter {
    /// Rules as `+prefix` (kept) and `-prefix` (left out); `default` is for names that no rule fits.
    ///
    /// # Errors
    /// A rule has no sign.
    pub fn new(rules: &[String], default: bool) -> Result<Filter, FilterError> {
        let read = |rule: &String| match rule.as_bytes().first() {
            None => Err(FilterError::Empty),
            Some(b'+') => Ok((rule[1..].to_owned(), true)),
            Some(b'-') => Ok((rule[1..].to_owned(), false)),
            Some(_) => Err(FilterError::NoSign(rule.clone())),
        };
        let rules = rules.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Filter { rules, default })
    }

    /// That name is kept. Of two rules with one prefix, the one that leaves out wins.
    pub fn keeps(&self, name: &str) -> bool {
        let fitting = self.rules.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, keeps)| (prefix.len(), !keeps)).map_or(self.default, |(_, keeps)| *keeps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_decides() {
        let rules = ["-nomad.raft", "+nomad.raft.apply", "-nomad.x", "+nomad.x"].map(str::to_owned);
        let filter = Filter::new(&rules, true).unwrap();
        assert!(filter.keeps("nomad.raft.apply"));
        assert!(!filter.keeps("nomad.raft.commitTime"));
        assert!(!filter.keeps("nomad.x"));
        assert!(filter.keeps("nomad.client.uptime"));
        assert!(!Filter::new(&[], false).unwrap().keeps("nomad.client.uptime"));
        assert_eq!(
            Filter::new(&["abc".to_owned()], true).unwrap_err().to_string(),
            "Filter rule must begin with either '+' or '-': \"abc\""
        );
        assert_eq!(Filter::new(&[String::new()], true), Err(FilterError::Empty));
    }
}
