//! Lists of shared things, read without a copy of each that is not shared.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The most things that room is made for before they are seen.
const FORESEEN_MAX: usize = 16 << 10;

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<Arc<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::with_capacity(items.size_hint().unwrap_or(0).min(FORESEEN_MAX));
        while let Some(item) = items.next_element()? {
            list.push(Arc::new(item));
        }
        Ok(list)
    }
}

/// Reads a list.
pub fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Vec<Arc<T>>, D::Error> {
    d.deserialize_seq(ListVisitor(PhantomData))
}
