//! Texts that are said a million times over: those that drover itself says are no memory at all, others are shared by their
//! copies.

use std::borrow::Borrow;
use std::cmp::Ordering;
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

/// How long the longest of [`KNOWN`] is.
const KNOWN_LEN_MAX: usize = 24;
/// The most of [`KNOWN`] that are of one length.
const ALIKE_MAX: usize = 5;
/// The places in [`KNOWN`] of the texts of each length, 0 for none: millions of texts are looked up when a state is read, and
/// this leaves one or two to be compared.
const BY_LEN: [[u8; ALIKE_MAX]; KNOWN_LEN_MAX + 1] = {
    let mut by_len = [[0; ALIKE_MAX]; KNOWN_LEN_MAX + 1];
    let mut place = 1;
    while place < KNOWN.len() {
        let alike = &mut by_len[KNOWN[place].len()];
        let mut next = 0;
        while alike[next] != 0 {
            next += 1;
        }
        alike[next] = place as u8;
        place += 1;
    }
    by_len
};

/// Its place in [`KNOWN`]. No empty texts are compared here nor below: that they are equal is seen by their length at once, and
/// some processors take long to compare what lies nowhere.
fn known(text: &str) -> Option<u16> {
    let Some(first) = text.as_bytes().first() else { return Some(0) };
    let alike = BY_LEN.get(text.len())?.iter().take_while(|place| **place != 0);
    let is_it = |known: &str| known.as_bytes()[0] == *first && known == text;
    alike.map(|place| u16::from(*place)).find(|place| is_it(KNOWN[usize::from(*place)]))
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match known(text) {
            Some(place) => Self(Kept::Known(place)),
            None => Self(Kept::Own(text.into())),
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
        match (&self.0, &other.0) {
            (Kept::Known(one), Kept::Known(other)) => one == other,
            (Kept::Own(one), Kept::Own(other)) => one == other,
            // What is known is never kept otherwise.
            _ => false,
        }
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Kept::Known(one), Kept::Known(other)) => one.cmp(other),
            (Kept::Known(0), _) => Ordering::Less,
            (_, Kept::Known(0)) => Ordering::Greater,
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        let own = self.as_str();
        own.len() == other.len() && (own.is_empty() || own == other)
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
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
        assert!(KNOWN.is_sorted_by(|a, b| a < b) && KNOWN.len() <= usize::from(u8::MAX));
        assert_eq!((Text::default().as_str(), size_of::<Text>()), ("", size_of::<Arc<str>>()));
        for text in KNOWN.iter().copied().chain(["web", "a longer text of somebody's"]) {
            let one = Text::from(text);
            assert_eq!((one.as_str(), one.to_string().as_str()), (text, text));
            let json = serde_json::to_string(&one).unwrap();
            assert_eq!(json, serde_json::to_string(text).unwrap());
            assert_eq!(serde_json::from_str::<Text>(&json).unwrap(), one);
            assert_eq!(one, Text::from(text.to_owned()));
            let (own, other) = (text.to_owned(), Text::from("other"));
            assert!(one == *text && one == own && one != *"other" && one != other);
            assert_eq!(matches!(one.0, Kept::Known(_)), KNOWN.contains(&text));
        }
        let mut sorted = ["e", "default", "a", "", "all"].map(Text::from);
        sorted.sort();
        assert_eq!(sorted, ["", "a", "all", "default", "e"]);
    }
}
