//! The parameters of a call.

use std::time::Duration;

use drover_model::time::format_duration;

/// What a call may carry beside its path. Empty text counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions {
    /// Blocking: answer when the index of what is asked for has gone past this one.
    pub index: Option<u64>,
    /// Blocking: at most this long. The server has a maximum of its own.
    pub wait: Option<Duration>,
    /// Only ids that begin so.
    pub prefix: String,
    /// Only what this expression admits.
    pub filter: String,
    /// Items per page; zero is all.
    pub per_page: u64,
    /// The page to begin with.
    pub next_token: String,
    /// Newest first.
    pub reverse: bool,
    /// In place of the client's namespace.
    pub namespace: String,
    /// In place of the client's region.
    pub region: String,
    /// Any server may answer.
    pub stale: bool,
    /// Whatever else the route knows.
    pub more: Vec<(&'static str, String)>,
}

impl QueryOptions {
    /// Only ids that begin so.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// Wait until the index has gone past `index`.
    pub fn after(index: u64, wait: Duration) -> Self {
        Self { index: Some(index), wait: Some(wait), ..Self::default() }
    }

    /// Adds a parameter of the route.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.more.push((name, value.into()));
        self
    }

    /// Name and value pairs, sorted by name, as they go into the URL.
    pub(crate) fn pairs(&self, region: &str, namespace: &str) -> Vec<(&str, String)> {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        let own = |mine: &str, default: &str| if mine.is_empty() { default.to_owned() } else { mine.to_owned() };
        let mut text = |name: &'static str, value: String| {
            if !value.is_empty() {
                pairs.push((name, value));
            }
        };
        text("region", own(&self.region, region));
        text("namespace", own(&self.namespace, namespace));
        text("index", self.index.map(|index| index.to_string()).unwrap_or_default());
        text("wait", self.wait.map(format_duration).unwrap_or_default());
        text("prefix", self.prefix.clone());
        text("filter", self.filter.clone());
        text("per_page", if self.per_page == 0 { String::new() } else { self.per_page.to_string() });
        text("next_token", self.next_token.clone());
        text("reverse", if self.reverse { "true".to_owned() } else { String::new() });
        text("stale", if self.stale { "true".to_owned() } else { String::new() });
        pairs.extend(self.more.iter().map(|(name, value)| (*name, value.clone())));
        pairs.sort_by_key(|(name, _)| *name);
        pairs
    }
}

/// Percent-encodes one path segment or query value: everything but letters, digits and `-_.~`.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sorted_and_empty_ones_left_out() {
        let options =
            QueryOptions { reverse: true, ..QueryOptions::after(7, Duration::from_secs(60)) }.with("all", "true");
        let pairs = options.pairs("", "team");
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text.join("&"), "all=true&index=7&namespace=team&reverse=true&wait=1m0s");
        assert!(QueryOptions::default().pairs("", "").is_empty());
    }

    #[test]
    fn escaping() {
        assert_eq!(escape("par/dispatch-1"), "par%2Fdispatch-1");
        assert_eq!(escape("a b\"é"), "a%20b%22%C3%A9");
    }
}
