//! Identifiers. Each noun has its own type, so that a swap of two does not compile.
//!
//! Machine-made ids are UUIDs of 16 bytes: text in JSON, bytes in the log and between machines.
//! Names that people choose (jobs, namespaces) are shared text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that was to be an id and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// Not 36 characters long.
    #[error("UUID must be 36 characters")]
    Length,
    /// 36 characters, but not hexadecimal digits in groups of 8-4-4-4-12.
    #[error("invalid UUID")]
    Shape,
}

/// Formats 16 bytes as lower-case text in groups of 8-4-4-4-12.
fn format_uuid(bytes: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Result<[u8; 16], ParseIdError> {
    let raw = text.as_bytes();
    if raw.len() != 36 {
        return Err(ParseIdError::Length);
    }
    let mut bytes = [0u8; 16];
    let mut digits = 0;
    for (place, &c) in raw.iter().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            if c != b'-' {
                return Err(ParseIdError::Shape);
            }
            continue;
        }
        let value = (c as char).to_digit(16).ok_or(ParseIdError::Shape)? as u8;
        bytes[digits / 2] = bytes[digits / 2] << 4 | value;
        digits += 1;
    }
    Ok(bytes)
}

macro_rules! uuid_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id made of these 16 bytes (random ones, or derived from a seed by the caller).
            /// The version and variant bits are set, so that the text is a version 4 UUID.
            pub fn from_random(mut bytes: [u8; 16]) -> Self {
                bytes[6] = bytes[6] & 0x0f | 0x40;
                bytes[8] = bytes[8] & 0x3f | 0x80;
                Self(bytes)
            }

            /// The 16 bytes as they are.
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// The first eight characters, as tables show it.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format_uuid(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format_uuid(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_uuid(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.collect_str(self)
                } else {
                    s.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(UuidVisitor).map(Self)
            }
        }
    };
}

struct UuidVisitor;

impl<'de> serde::de::Visitor<'de> for UuidVisitor {
    type Value = [u8; 16];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a UUID")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        parse_uuid(text).map_err(E::custom)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
    }
}

/// `Option<id>` that is the empty text in JSON when absent, as the API has it.
pub mod optional {
    use super::*;

    /// Writes the id, or an empty text (JSON) or nil (log).
    pub fn serialize<T: Serialize, S: Serializer>(id: &Option<T>, s: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => id.serialize(s),
            None if s.is_human_readable() => s.serialize_str(""),
            None => s.serialize_none(),
        }
    }

    /// Reads an id; nothing, nil and the empty text are `None`.
    pub fn deserialize<'de, T: From<[u8; 16]>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Option<[u8; 16]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID or nothing")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                if text.is_empty() { Ok(None) } else { UuidVisitor.visit_str(text).map(Some) }
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                UuidVisitor.visit_bytes(bytes).map(Some)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
            fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }
        }
        Ok(d.deserialize_any(Visitor)?.map(T::from))
    }
}

macro_rules! uuid_from {
    ($($name:ident),*) => {$(
        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }
    )*};
}

uuid_type!(
    /// One placement of a group on a node.
    AllocId
);
uuid_type!(
    /// One evaluation of a job.
    EvalId
);
uuid_type!(
    /// One rollout of a job version.
    DeploymentId
);
uuid_type!(
    /// One machine as servers see it.
    NodeId
);
uuid_type!(
    /// One join token.
    JoinTokenId
);
uuid_from!(AllocId, EvalId, DeploymentId, NodeId, JoinTokenId);

/// Shared text, without a copy that is not shared.
struct NameVisitor;

impl serde::de::Visitor<'_> for NameVisitor {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(text.into())
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_str(NameVisitor).map(Self)
            }
        }

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self(Arc::default())
            }
        }
    };
}

name_type!(
    /// The name of a job, unique in its namespace.
    JobId
);
name_type!(
    /// A namespace.
    Namespace
);

/// Where a job is found: its namespace and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct JobKey {
    /// The namespace.
    pub namespace: Namespace,
    /// The job's id in it.
    pub id: JobId,
}

impl JobKey {
    /// The key of job `id` in `namespace`.
    pub fn new(namespace: impl Into<Namespace>, id: impl Into<JobId>) -> Self {
        Self { namespace: namespace.into(), id: id.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_survives_text_and_bytes() {
        let id = AllocId::from_random([0xab; 16]);
        assert_eq!(id.to_string(), "abababab-abab-4bab-abab-abababababab");
        assert_eq!(id.to_string().parse(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<AllocId>(&json).unwrap(), id);
    }

    #[test]
    fn a_bad_uuid_says_what_is_wrong() {
        assert_eq!("abc".parse::<NodeId>(), Err(ParseIdError::Length));
        assert_eq!("zbababab-abab-4bab-abab-abababababab".parse::<NodeId>(), Err(ParseIdError::Shape));
        assert_eq!("abababababab-4bab-abab-abababababababab1".parse::<NodeId>(), Err(ParseIdError::Length));
    }
}
