//! Packs values: a serde serializer.
//!
//! A struct's shape is known only when all of its fields were written, and stands before them: its number is put in front
//! of them afterwards. A definition that stands inside a struct comes too late for that struct itself, which then brings
//! the same definition again.

use std::collections::BTreeMap;

use serde::ser::Serialize;

use super::seen::Seen;
use super::{
    BYTES, BYTES_KEPT, BYTES_LONG, DELTA, Error, FLOAT, FLOAT_KEPT, FLOAT_ZERO, KEPT_BYTES_MAX, KEPT_MAX, NEGATIVE,
    SAME, SAME_INT, SHAPED_COLUMNS_MAX, SHAPED_ENTRIES_MAX, SHAPED_NAMES_MAX, SHAPES_BYTES_MAX, SHAPES_MAX, SMALL,
    STRUCT, STRUCT_NEW, STRUCT_SHORT, TEXT, TEXT_EMPTY, TEXT_KEPT, TEXT_KEPT_MAX, TEXT_KEPT_SHORT, TEXT_LONG, UINT,
    shape_cost,
};

/// The bytes of a value.
///
/// # Errors
/// It holds what this form can't express (128-bit integers).
pub fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// What a field of one struct has in common from one value to the next.
#[derive(Debug)]
struct Column {
    name: Box<str>,
    last_int: u64,
    /// The newest of its texts that was new.
    last_text: Option<u32>,
    /// What of the kept stood last: [`TEXT`], [`BYTES`] or [`FLOAT`], and its number.
    last_kept: Option<(u8, u32)>,
}

impl Column {
    fn new(name: &str) -> Self {
        Self { name: name.into(), last_int: 0, last_text: None, last_kept: None }
    }
}

/// The columns of the structs of one name, or of the maps of one column, in the order in which they were met.
#[derive(Debug, Default)]
struct Kind {
    fields: Vec<u32>,
}

/// A shape that was written.
#[derive(Clone, Copy, Debug)]
struct Shape {
    number: u32,
    /// Where its definition stands, or a little before.
    at: usize,
    /// How often the writer was drained before.
    drained: usize,
}

/// Packs one value.
#[derive(Debug)]
pub struct Writer {
    pub(super) out: Vec<u8>,
    pub(super) column: usize,
    columns: Vec<Column>,
    kinds: Vec<Kind>,
    kind_names: BTreeMap<&'static str, usize>,
    /// By the column that the maps lie in.
    map_kinds: BTreeMap<usize, usize>,
    /// While a map's key is written: the text that it is, if it is one.
    pub(super) captured: Option<Option<String>>,
    /// Room for that.
    pub(super) spare: String,
    shapes: BTreeMap<Vec<u32>, Shape>,
    /// What they take in the memory of whoever reads this.
    pub(super) shapes_bytes: usize,
    texts: Seen,
    bytes: Seen,
    floats: Seen,
    /// Room for what is put before a struct.
    head: Vec<u8>,
    drained: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            out: Vec::new(),
            column: 0,
            // What lies in no struct.
            columns: vec![Column::new("")],
            kinds: Vec::new(),
            kind_names: BTreeMap::new(),
            map_kinds: BTreeMap::new(),
            captured: None,
            spare: String::new(),
            shapes: BTreeMap::new(),
            shapes_bytes: 0,
            texts: Seen::default(),
            bytes: Seen::default(),
            floats: Seen::default(),
            head: Vec::new(),
            drained: 0,
        }
    }
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// How long two texts begin alike, to the end of a character.
fn common_prefix(one: &[u8], other: &str) -> usize {
    let mut len = one.iter().zip(other.as_bytes()).take_while(|(a, b)| a == b).count();
    while !other.is_char_boundary(len) {
        len -= 1;
    }
    len
}

impl Writer {
    /// Forgets the bytes of the values that were written, but not what they said; gives how many there were.
    pub fn drain(&mut self) -> usize {
        let len = self.out.len();
        self.out.clear();
        self.drained += 1;
        len
    }

    pub(super) fn tagged(&mut self, tag: u8, number: u64) {
        self.out.push(tag);
        put_number(&mut self.out, number);
    }

    pub(super) fn uint(&mut self, number: u64) {
        if number < 0x80 {
            return self.out.push(SMALL | number as u8);
        }
        let column = &mut self.columns[self.column];
        if column.last_int == number {
            return self.out.push(SAME_INT);
        }
        let delta = zigzag(number.wrapping_sub(column.last_int) as i64);
        column.last_int = number;
        if number_len(delta) < number_len(number) { self.tagged(DELTA, delta) } else { self.tagged(UINT, number) }
    }

    pub(super) fn int(&mut self, number: i64) {
        match u64::try_from(number) {
            Ok(number) => self.uint(number),
            Err(_) => self.tagged(NEGATIVE, !number as u64),
        }
    }

    /// Something that was kept, again.
    fn kept(&mut self, kind: u8, tag: u8, number: u32) {
        let last = self.columns[self.column].last_kept.replace((kind, number));
        if last == Some((kind, number)) {
            self.out.push(SAME);
        } else if kind == TEXT && number < u32::from(SMALL - TEXT_KEPT_SHORT) {
            self.out.push(TEXT_KEPT_SHORT + number as u8);
        } else {
            self.tagged(tag, u64::from(number));
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if let Some(captured) = &mut self.captured {
            let spare = &mut self.spare;
            return captured.get_or_insert_with(|| std::mem::take(spare)).push_str(text);
        }
        if text.is_empty() {
            return self.out.push(TEXT_EMPTY);
        }
        let is_short = text.len() <= TEXT_KEPT_MAX;
        if let Some(number) = Some(text).filter(|_| is_short).and_then(|text| self.texts.find(text.as_bytes())) {
            return self.kept(TEXT, TEXT_KEPT, number);
        }
        if !is_short || self.texts.bytes() >= KEPT_BYTES_MAX {
            self.tagged(TEXT_LONG, text.len() as u64);
            return self.out.extend_from_slice(text.as_bytes());
        }
        let column = &mut self.columns[self.column];
        let prefix = column.last_text.map_or(0, |last| common_prefix(self.texts.get(last), text));
        let number = self.texts.add(text.as_bytes());
        (column.last_text, column.last_kept) = (Some(number), Some((TEXT, number)));
        self.tagged(TEXT, prefix as u64);
        put_number(&mut self.out, (text.len() - prefix) as u64);
        self.out.extend_from_slice(&text.as_bytes()[prefix..]);
    }

    pub(super) fn byte_string(&mut self, bytes: &[u8]) {
        if bytes.len() > TEXT_KEPT_MAX {
            self.tagged(BYTES_LONG, bytes.len() as u64);
            return self.out.extend_from_slice(bytes);
        }
        if let Some(number) = self.bytes.find(bytes) {
            return self.kept(BYTES, BYTES_KEPT, number);
        }
        if self.bytes.len() < KEPT_MAX {
            self.columns[self.column].last_kept = Some((BYTES, self.bytes.add(bytes)));
        }
        self.tagged(BYTES, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn float(&mut self, number: f64) {
        if number.to_bits() == 0 {
            return self.out.push(FLOAT_ZERO);
        }
        let bytes = number.to_bits().to_le_bytes();
        if let Some(number) = self.floats.find(&bytes) {
            return self.kept(FLOAT, FLOAT_KEPT, number);
        }
        if self.floats.len() < KEPT_MAX {
            self.columns[self.column].last_kept = Some((FLOAT, self.floats.add(&bytes)));
        }
        self.out.push(FLOAT);
        self.out.extend_from_slice(&bytes);
    }

    pub(super) fn kind(&mut self, name: &'static str) -> usize {
        let kinds = &mut self.kinds;
        *self.kind_names.entry(name).or_insert_with(|| {
            kinds.push(Kind::default());
            kinds.len() - 1
        })
    }

    /// The kind of the maps in this column; none for one that gets no shape.
    pub(super) fn map_kind(&mut self, entries: usize) -> Option<usize> {
        if entries > SHAPED_ENTRIES_MAX || self.columns.len() >= SHAPED_COLUMNS_MAX {
            return None;
        }
        let kinds = &mut self.kinds;
        let kind = *self.map_kinds.entry(self.column).or_insert_with(|| {
            kinds.push(Kind::default());
            kinds.len() - 1
        });
        Some(kind).filter(|kind| self.kinds[*kind].fields.len() < SHAPED_NAMES_MAX)
    }

    /// The column of a field. `next` is where it is looked for first.
    pub(super) fn column_of(&mut self, kind: usize, next: &mut usize, name: &str) -> u32 {
        let fields = &mut self.kinds[kind].fields;
        let is_it = |place: &usize| *self.columns[fields[*place] as usize].name == *name;
        if let Some(place) = (*next..fields.len()).chain(0..*next).find(is_it) {
            *next = place + 1;
            return fields[place];
        }
        let column = self.columns.len() as u32;
        self.columns.push(Column::new(name));
        fields.push(column);
        *next = fields.len();
        column
    }

    /// Puts a struct's shape before its fields, which begin at `start`.
    pub(super) fn close_struct(&mut self, start: usize, key: Vec<u32>) {
        let known = self.shapes.get(&key).copied();
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        match known {
            Some(shape) if shape.at < start || shape.drained < self.drained => {
                if shape.number < u32::from(TEXT_KEPT_SHORT - STRUCT_SHORT) {
                    head.push(STRUCT_SHORT + shape.number as u8);
                } else {
                    head.push(STRUCT);
                    put_number(&mut head, u64::from(shape.number));
                }
            }
            known => {
                let names = key.iter().map(|field| self.columns[(field >> 8) as usize].name.len());
                let cost = shape_cost(key.len(), names.sum());
                let is_kept =
                    known.is_some() || (self.shapes.len() < SHAPES_MAX && self.shapes_bytes + cost <= SHAPES_BYTES_MAX);
                // One shape too many takes the last place, and is forgotten by the next of them.
                let next = if is_kept { self.shapes.len() } else { SHAPES_MAX };
                let number = known.map_or(next as u32, |shape| shape.number);
                head.push(STRUCT_NEW);
                put_number(&mut head, u64::from(number));
                put_number(&mut head, key.len() as u64);
                for field in &key {
                    let (column, constant) = (field >> 8, *field as u8);
                    put_number(&mut head, u64::from(column));
                    head.push(constant);
                    let name = &self.columns[column as usize].name;
                    put_number(&mut head, name.len() as u64);
                    head.extend_from_slice(name.as_bytes());
                }
                if is_kept {
                    self.shapes_bytes += if known.is_some() { 0 } else { cost };
                    self.shapes.insert(key, Shape { number, at: start, drained: self.drained });
                }
            }
        }
        self.out.splice(start..start, head.iter().copied());
        self.head = head;
    }
}
