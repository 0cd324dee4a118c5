//! Lines for statsd, statsite and DogStatsD.

use std::fmt::Write;

use crate::registry::Update;
use crate::series::Kind;

/// Who reads the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// statsd and statsite: values of labels become parts of the name.
    Plain,
    /// DogStatsD: labels are tags, and so are these (`key:value`).
    Datadog(Vec<String>),
}

impl Dialect {
    /// One line, with its end.
    pub fn line(&self, update: &Update) -> String {
        let mut line = word(update.name);
        if *self == Dialect::Plain {
            for (_, value) in update.labels.iter() {
                line.push('.');
                line.push_str(&word(value));
            }
        }
        let kind = match (update.kind, self) {
            (Kind::Counter, _) => "c",
            (Kind::Gauge, _) => "g",
            (Kind::Sample, _) => "ms",
        };
        // Writing to a string can't fail.
        let _ = write!(line, ":{}|{kind}", update.value);
        if let Dialect::Datadog(tags) = self {
            let labels = update.labels.iter().map(|(name, value)| format!("{}:{}", tag(name), tag(value)));
            let all: Vec<String> = tags.iter().map(|given| tag(given)).chain(labels).collect();
            if !all.is_empty() {
                line.push_str("|#");
                line.push_str(&all.join(","));
            }
        }
        line.push('\n');
        line
    }
}

/// A part of a name: what means something to statsd is replaced.
fn word(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, ':' | '|' | '@' | '#') || c.is_whitespace() || c.is_control() { '_' } else { c })
        .collect()
}

/// A part of a tag.
fn tag(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, ',' | '|' | '#') || c.is_whitespace() || c.is_control() { '_' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn lines_of_both_dialects() {
        let update = |kind, value| Update {
            kind,
            name: "nomad.client.allocs.restart",
            labels: Labels::new(&[("job", "a b|c\n"), ("host", "h:1")]),
            value,
        };
        let plain = |kind, value| Dialect::Plain.line(&update(kind, value));
        assert_eq!(plain(Kind::Counter, 1.0), "nomad.client.allocs.restart.h_1.a_b_c_:1|c\n");
        assert_eq!(plain(Kind::Gauge, 1.5), "nomad.client.allocs.restart.h_1.a_b_c_:1.5|g\n");
        assert_eq!(plain(Kind::Sample, 0.25), "nomad.client.allocs.restart.h_1.a_b_c_:0.25|ms\n");
        let datadog = Dialect::Datadog(vec!["env:test".to_owned()]);
        let line = datadog.line(&update(Kind::Counter, 1.0));
        assert_eq!(line, "nomad.client.allocs.restart:1|c|#env:test,host:h:1,job:a_b_c_\n");
    }
}
