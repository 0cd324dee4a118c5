//! The packed form: what serde writes, with everything that repeats said once.
//!
//! A million allocs say the same field names, words and ids over and over, and most of their fields are empty. Here a struct
//! is a number and the values that are not empty: the number stands for its *shape*, which names the fields and says which of
//! them hold nothing. A small map with texts as keys has a shape too. Texts, ids and floats that came before are a number too,
//! and large integers are the difference to the one before in the same field. Like MessagePack with names it describes itself,
//! so that a field added with a default still reads what was written before; unlike it, a value can be read only after all
//! that stand before it.
//!
//! Every value begins with a byte: `0x80 | n` for the numbers up to 127, else one of the tags here. A *column* is a field
//! of a struct, wherever that lies. Lengths and numbers are little-endian base 128. What is kept to be referred to is bounded (`KEPT_BYTES_MAX`, `TEXT_KEPT_MAX`), so that a
//! short text can't be made to stand for much more memory than it is long.

mod reader;
mod seen;
mod serialize;
mod shape;
mod writer;

#[cfg(test)]
mod tests;

pub use reader::from_bytes;
pub use writer::{Writer, to_bytes};

/// Nothing: `None`, `()`.
const NONE: u8 = 0x00;
const FALSE: u8 = 0x01;
const TRUE: u8 = 0x02;
/// The empty text.
const TEXT_EMPTY: u8 = 0x03;
const SEQ_EMPTY: u8 = 0x04;
const MAP_EMPTY: u8 = 0x05;
/// An integer from 128 on.
const UINT: u8 = 0x06;
/// A negative integer `n`, as `-1 - n`.
const NEGATIVE: u8 = 0x07;
/// An integer from 128 on, as the difference to the one before in this column, zigzag.
const DELTA: u8 = 0x08;
/// Eight bytes, lowest first; kept.
const FLOAT: u8 = 0x09;
const FLOAT_KEPT: u8 = 0x0a;
/// How much it begins like the text kept last in this column, how many bytes follow, these; kept.
const TEXT: u8 = 0x0b;
const TEXT_KEPT: u8 = 0x0c;
/// A text too long to be kept: its length and its bytes.
const TEXT_LONG: u8 = 0x0d;
/// Length and bytes; kept.
const BYTES: u8 = 0x0e;
const BYTES_KEPT: u8 = 0x0f;
/// Bytes too many to be kept.
const BYTES_LONG: u8 = 0x10;
/// How many, and these.
const SEQ: u8 = 0x11;
/// How many pairs, and these.
const MAP: u8 = 0x12;
/// The number of a shape, and the values it leaves open.
const STRUCT: u8 = 0x13;
/// The same, with the shape's fields behind its number: how many, and for each its column, its constant, its name.
const STRUCT_NEW: u8 = 0x14;
/// A variant that holds something: its name as a text, and that.
const VARIANT: u8 = 0x15;
/// The kept text, bytes or float that stood last in this column.
const SAME: u8 = 0x16;
/// The integer that stood last in this column.
const SAME_INT: u8 = 0x17;
const FLOAT_ZERO: u8 = 0x18;
/// From here on: structs of the first shapes.
const STRUCT_SHORT: u8 = 0x20;
/// From here on to 127: the first texts that were kept.
const TEXT_KEPT_SHORT: u8 = 0x40;
/// From here on: the numbers 0 to 127.
const SMALL: u8 = 0x80;
/// In a shape: no constant, the value stands with the struct.
const OPEN: u8 = 0xff;

/// The longest text or bytes that are kept.
const TEXT_KEPT_MAX: usize = 256;
/// All texts kept of one packed value, in bytes.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// How many bytes or floats are kept of one packed value.
const KEPT_MAX: usize = 16 << 20;
/// Shapes that are kept of one packed value.
const SHAPES_MAX: usize = 4096;
/// What they take in memory, all together, by [`shape_cost`]. The one in the last place, which the next takes over, is not counted.
const SHAPES_BYTES_MAX: usize = 64 << 20;
/// A field of a kept shape, without its name.
const FIELD_BYTES: usize = 48;
/// Fields of one shape: a shape's number is one byte, and what it stands for must not be much more.
const FIELDS_MAX: usize = 1024;
/// The most entries of a map that has a shape as structs have, and the most names of those that lie in one column.
const SHAPED_ENTRIES_MAX: usize = 8;
const SHAPED_NAMES_MAX: usize = 64;
/// From so many columns on no more maps get shapes.
const SHAPED_COLUMNS_MAX: usize = 8 << 10;
/// Columns of one packed value.
const COLUMNS_MAX: usize = 16 << 10;
/// How deep values may lie in each other. `command::decode` takes 256, and what it takes lies a little deeper here.
pub(crate) const DEPTH_MAX: usize = 384;

/// A value of one byte that says nothing: part of its struct's shape.
fn is_constant(byte: u8) -> bool {
    matches!(byte, NONE | FALSE | TRUE | TEXT_EMPTY | SEQ_EMPTY | MAP_EMPTY | FLOAT_ZERO | SMALL)
}

/// What a shape takes in memory for as long as it is kept.
fn shape_cost(fields: usize, names_bytes: usize) -> usize {
    fields * FIELD_BYTES + names_bytes
}

/// Why a value can't be packed, or these bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value or the type that reads it says so.
    #[error("{0}")]
    Other(String),
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// There are more of them than the value has.
    #[error("something follows its end")]
    Long,
    /// They refer to what was not there before, or is over a limit.
    #[error("it refers to what is not there")]
    Reference,
    /// A byte that begins no value.
    #[error("no value begins with {0:#04x}")]
    Tag(u8),
    /// A text that is not UTF-8.
    #[error("a text of it is not UTF-8")]
    Text,
    /// Values lie in each other too deep.
    #[error("values lie in each other more than {DEPTH_MAX} deep")]
    Depth,
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Other(message.to_string())
    }
}
