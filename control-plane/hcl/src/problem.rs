//! What is wrong with a text, where, and how it is shown.

use std::fmt::Write;
use std::sync::Arc;

use crate::source::{Source, Span};
use crate::suggest::near;

/// Where a problem sits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// No place at all, shown as `<nil>`.
    Nowhere,
    /// A value that came from outside any text, shown as `:0,0-0`.
    Unset,
    /// In the source that is being parsed.
    At(Span),
    /// In another source, for example a variable file.
    Other {
        /// That source.
        source: Arc<Source>,
        /// Where in it.
        span: Span,
    },
}

/// One thing that is wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// A few words, as a heading.
    pub summary: String,
    /// A sentence or more; may hold newlines.
    pub detail: String,
    /// The remedy, when we know one.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place in the source that is being parsed.
    pub fn new(span: Span, summary: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { place: Place::At(span), summary: summary.into(), detail: detail.into(), hint: None }
    }

    /// A problem without a place.
    pub fn nowhere(summary: impl Into<String>, detail: impl Into<String>) -> Problem {
        Problem { place: Place::Nowhere, ..Problem::new(Span::default(), summary, detail) }
    }

    /// The same problem with a remedy.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The same problem, pinned to `source` when it did not name a source of its own.
    pub fn in_source(mut self, source: &Arc<Source>) -> Problem {
        if let Place::At(span) = self.place {
            self.place = Place::Other { source: source.clone(), span };
        }
        self
    }

    /// `name:line,column-column` of this problem; `source` is the one being parsed.
    pub fn range(&self, source: &Source) -> String {
        match &self.place {
            Place::Nowhere => "<nil>".to_string(),
            Place::Unset => ":0,0-0".to_string(),
            Place::At(span) => source.range(*span),
            Place::Other { source, span } => source.range(*span),
        }
    }

    /// One line (more when the detail has more): `job.hcl:12,5-9: Summary; Detail`.
    pub fn one_line(&self, source: &Source) -> String {
        format!("{}: {}; {}", self.range(source), self.summary, self.detail)
    }

    /// For people: `file:line:column`, the line itself, a caret below, and the hint.
    pub fn human(&self, source: &Source) -> String {
        let located = match &self.place {
            Place::Nowhere | Place::Unset => None,
            Place::At(span) => Some((source, *span)),
            Place::Other { source, span } => Some((source.as_ref(), *span)),
        };
        let mut out = format!("{}: {}", self.summary, self.detail);
        if let Some((source, span)) = located {
            let (start, end) = (source.position(span.start), source.position(span.end));
            let line = source.line_at(span.start);
            let width = match start.line == end.line {
                true => (end.column - start.column).max(1),
                false => 1,
            };
            let (line, skipped) = shortened(line, start.column - 1);
            let width = width.min(SHOWN_CHARS_MAX);
            // Tabs stay tabs so that the caret stands below its character in any terminal.
            let before = line.chars().take(start.column - 1 - skipped);
            let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let head = format!("{}:{}:{}: ", source.name, start.line, start.column);
            out.insert_str(0, &head);
            // Writing to a String cannot fail.
            let _ = write!(out, "\n  {line}\n  {indent}{}", "^".repeat(width));
        }
        if let Some(hint) = &self.hint {
            let _ = write!(out, "\nhint: {hint}");
        }
        out
    }
}

/// The problem with the nearest of the names that there are, when one is near enough to be meant.
pub(crate) fn hinted<'n>(problem: Problem, wrong: &str, names: impl Iterator<Item = &'n str>) -> Problem {
    match near(wrong, names) {
        Some(near) => problem.with_hint(format!("did you mean \"{near}\"?")),
        None => problem,
    }
}

/// Most characters of a line that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// The part of a line around a place, and how many characters were left out before it.
fn shortened(line: &str, place: usize) -> (String, usize) {
    let skipped = match line.len() > SHOWN_CHARS_MAX {
        true => place.saturating_sub(SHOWN_CHARS_MAX / 2),
        false => 0,
    };
    (line.chars().skip(skipped).take(SHOWN_CHARS_MAX).collect(), skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_line_caret_and_hint() {
        let source = Source::new("job.hcl", "a = 1\n\tb = upr(\"x\")\n");
        let problem =
            Problem::new(Span::new(11, 14), "Call to unknown function", "There is no function named \"upr\".")
                .with_hint("did you mean \"upper\"?");
        assert_eq!(
            problem.one_line(&source),
            "job.hcl:2,6-9: Call to unknown function; There is no function named \"upr\"."
        );
        assert_eq!(
            problem.human(&source),
            "job.hcl:2:6: Call to unknown function: There is no function named \"upr\".\n  \tb = upr(\"x\")\n  \t    ^^^\nhint: did you mean \"upper\"?"
        );
        assert_eq!(Problem::nowhere("A", "b").one_line(&source), "<nil>: A; b");
        let long = Source::new("job.hcl", "x".repeat(100_000));
        let human = Problem::new(Span::new(50_000, 99_000), "A", "b").human(&long);
        assert!(human.starts_with("job.hcl:1:50001: A: b\n") && human.len() < 1000, "{human}");
    }
}
