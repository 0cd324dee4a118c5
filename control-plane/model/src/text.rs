//! Texts that are said a million times over: those that drover itself says are no memory at all, others are shared by their
//! copies.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that can't be changed. A copy costs nothing.
#[derive(Clone)]
pub struct Text(Kept);

#[derive(Clone)]
enum Kept {
    /// Its place in [`KNOWN`].
    Known(u16),
    /// Any other.
    Own(Arc<str>),
}

/// What edges and servers say of most allocs. Sorted; anything may be added, nothing depends on a place.
const KNOWN: &[&str] = &[
    "",
    "0",
    "All tasks have completed",
    "Building Task Directory",
    "Driver",
    "Driver Failure",
    "Exit Code: 0",
    "Failed tasks",
    "Killed",
    "Killing",
    "No tasks have started",
    "Received",
    "Restart within policy",
    "Restarting",
    "Started",
    "Task Setup",
    "Task received by client",
    "Task started by client",
    "Task successfully killed",
    "Tasks are running",
    "Terminated",
    "all",
    "default",
    "exit_code",
    "false",
    "kill_timeout",
    "message",
    "oom_killed",
    "restart_reason",
    "signal",
    "start_delay",
    "true",
];

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self(Kept::Known(0));

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Known(place) => KNOWN[usize::from(*place)],
            Kept::Own(text) => text,
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match KNOWN.binary_search(&text) {
            Ok(place) => Self(Kept::Known(place as u16)),
            Err(_) => Self(Kept::Own(text.into())),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

struct TextVisitor;

impl serde::de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::from(text))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // A text that is known need not be copied first.
        d.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_says_however_it_is_kept() {
        assert!(KNOWN.is_sorted_by(|a, b| a < b) && KNOWN.len() < usize::from(u16::MAX));
        assert_eq!((Text::default().as_str(), size_of::<Text>()), ("", size_of::<Arc<str>>()));
        for text in KNOWN.iter().copied().chain(["web", "a longer text of somebody's"]) {
            let one = Text::from(text);
            assert_eq!((one.as_str(), one.to_string().as_str()), (text, text));
            let json = serde_json::to_string(&one).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), one);
            assert_eq!(one, Text::from(text.to_owned()));
        }
        let mut sorted = ["e", "default", "a"].map(Text::from);
        sorted.sort();
        assert_eq!(sorted, ["a", "default", "e"]);
    }
}
