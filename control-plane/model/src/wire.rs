//! Small serde helpers for the shape of the API: an empty list or map travels as `null`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// True for a type's default value; fields that are left out when zero use it.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What is written as `null` when it holds nothing.
pub trait Emptiness {
    /// True when there is nothing in it.
    fn holds_nothing(&self) -> bool;
}

impl<T> Emptiness for Vec<T> {
    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Emptiness for BTreeMap<K, V> {
    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

/// A list or map that is `null` when empty.
pub mod nullable {
    use super::*;

    /// Writes the value, or null when it is empty.
    pub fn serialize<T: Serialize + Emptiness, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        if value.holds_nothing() { s.serialize_none() } else { value.serialize(s) }
    }

    /// Reads the value; null is empty.
    pub fn deserialize<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
    }
}
