//! Reads packed values: a serde deserializer. Whatever the bytes are, it ends with a value or an error.

use std::rc::Rc;

use serde::de::value::{StrDeserializer, U64Deserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::shape::{Field, Shape, known_by_place};
use super::{
    BYTES, BYTES_KEPT, BYTES_LONG, COLUMNS_MAX, DELTA, DEPTH_MAX, Error, FALSE, FIELDS_MAX, FLOAT, FLOAT_KEPT,
    FLOAT_ZERO, KEPT_BYTES_MAX, KEPT_MAX, MAP, MAP_EMPTY, NEGATIVE, NONE, OPEN, SAME, SAME_INT, SEQ, SEQ_EMPTY,
    SHAPES_BYTES_MAX, SHAPES_MAX, SMALL, STRUCT, STRUCT_NEW, STRUCT_SHORT, TEXT, TEXT_EMPTY, TEXT_KEPT, TEXT_KEPT_MAX,
    TEXT_KEPT_SHORT, TEXT_LONG, TRUE, UINT, VARIANT, is_constant,
};

/// The value that these bytes are.
///
/// # Errors
/// They are not one of that type.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut reader = Reader::new(bytes);
    let value = T::deserialize(Value { reader: &mut reader, column: 0, tag: None })?;
    if reader.at == bytes.len() { Ok(value) } else { Err(Error::Long) }
}

/// Start and end of something in a buffer.
type Place = (usize, usize);

#[derive(Clone, Copy, Default)]
struct Column {
    last_int: u64,
    /// In the kept texts.
    last_text: Option<Place>,
    /// What of the kept stood last: [`TEXT`], [`BYTES`] or [`FLOAT`], and its number.
    last_kept: Option<(u8, usize)>,
}

/// The byte that begins a value, and a number that it holds already.
#[derive(Clone, Copy)]
enum Head {
    Tag(u8),
    Shape(usize),
    Text(usize),
}

fn head(byte: u8) -> Head {
    match byte {
        STRUCT_SHORT..TEXT_KEPT_SHORT => Head::Shape(usize::from(byte - STRUCT_SHORT)),
        TEXT_KEPT_SHORT..SMALL => Head::Text(usize::from(byte - TEXT_KEPT_SHORT)),
        tag => Head::Tag(tag),
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: usize,
    columns: Vec<Column>,
    shapes: Vec<Option<Rc<Shape>>>,
    /// What they take, but for the one in the last place.
    shapes_bytes: usize,
    kept: String,
    texts: Vec<Place>,
    /// In `bytes`.
    byte_strings: Vec<Place>,
    floats: Vec<f64>,
}

impl<'b> Reader<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            depth: 0,
            columns: vec![Column::default()],
            shapes: Vec::new(),
            shapes_bytes: 0,
            kept: String::new(),
            texts: Vec::new(),
            byte_strings: Vec::new(),
            floats: Vec::new(),
        }
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let byte = *self.bytes.get(self.at).ok_or(Error::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(Error::Reference);
            }
        }
    }

    /// A length of bytes or of things of a byte at least: no more of them than there are bytes left.
    fn length(&mut self) -> Result<usize, Error> {
        let length = usize::try_from(self.number()?).map_err(|_| Error::Short)?;
        if length > self.bytes.len() - self.at { Err(Error::Short) } else { Ok(length) }
    }

    fn place(&mut self) -> Result<Place, Error> {
        let length = self.length()?;
        let start = self.at;
        self.at += length;
        Ok((start, self.at))
    }

    fn text_at(&self, (start, end): Place) -> Result<&'b str, Error> {
        std::str::from_utf8(&self.bytes[start..end]).map_err(|_| Error::Text)
    }

    /// A new text: gives its number.
    fn new_text(&mut self, column: usize) -> Result<usize, Error> {
        let prefix = self.count()?;
        let suffix = self.place()?;
        let suffix = self.text_at(suffix)?;
        if prefix.saturating_add(suffix.len()) > TEXT_KEPT_MAX || self.kept.len() >= KEPT_BYTES_MAX {
            return Err(Error::Reference);
        }
        let last = self.columns[column].last_text.unwrap_or_default();
        if prefix > last.1 - last.0 || !self.kept.is_char_boundary(last.0 + prefix) {
            return Err(Error::Reference);
        }
        let start = self.kept.len();
        self.kept.extend_from_within(last.0..last.0 + prefix);
        self.kept.push_str(suffix);
        let place = (start, self.kept.len());
        self.texts.push(place);
        self.columns[column].last_text = Some(place);
        Ok(self.texts.len() - 1)
    }

    fn count(&mut self) -> Result<usize, Error> {
        usize::try_from(self.number()?).map_err(|_| Error::Reference)
    }

    fn shape(&self, number: usize) -> Result<Rc<Shape>, Error> {
        self.shapes.get(number).and_then(Clone::clone).ok_or(Error::Reference)
    }

    fn new_shape(&mut self) -> Result<Rc<Shape>, Error> {
        let number = self.count()?;
        if number > SHAPES_MAX {
            return Err(Error::Reference);
        }
        let count = self.length()?;
        if count > FIELDS_MAX {
            return Err(Error::Reference);
        }
        let mut fields = Vec::new();
        for _ in 0..count {
            let column = self.count()?;
            let constant = self.byte()?;
            if column >= COLUMNS_MAX || (constant != OPEN && !is_constant(constant)) {
                return Err(Error::Reference);
            }
            let name = self.place()?;
            fields.push(Field::new(column, constant, self.text_at(name)?));
            if column >= self.columns.len() {
                self.columns.resize(column + 1, Column::default());
            }
        }
        if number >= self.shapes.len() {
            self.shapes.resize(number + 1, None);
        }
        let shape = Rc::new(Shape::new(fields));
        let before = self.shapes[number].replace(shape.clone());
        if number < SHAPES_MAX {
            let freed = before.map_or(0, |before| before.cost());
            self.shapes_bytes = self.shapes_bytes - freed + shape.cost();
            if self.shapes_bytes > SHAPES_BYTES_MAX {
                return Err(Error::Reference);
            }
        }
        Ok(shape)
    }

    /// A new float, and its number if it is kept.
    fn float(&mut self) -> Result<(f64, Option<usize>), Error> {
        let end = self.at + 8;
        let bytes = self.bytes.get(self.at..end).and_then(|bytes| bytes.try_into().ok()).ok_or(Error::Short)?;
        self.at = end;
        let number = f64::from_bits(u64::from_le_bytes(bytes));
        if self.floats.len() >= KEPT_MAX {
            return Ok((number, None));
        }
        self.floats.push(number);
        Ok((number, Some(self.floats.len() - 1)))
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        let result = if self.depth > DEPTH_MAX { Err(Error::Depth) } else { f(self) };
        self.depth -= 1;
        result
    }
}

/// A value that is about to be read.
struct Value<'r, 'b> {
    reader: &'r mut Reader<'b>,
    column: usize,
    /// Its first byte, when that was read already: a constant is no more than this.
    tag: Option<u8>,
}

impl Value<'_, '_> {
    fn tag(&mut self) -> Result<u8, Error> {
        match self.tag {
            Some(tag) => Ok(tag),
            None => self.reader.byte(),
        }
    }

    fn number<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        let number = self.reader.number()?;
        let column = &mut self.reader.columns[self.column];
        match tag {
            NEGATIVE => {
                let number = i64::try_from(number).map_err(|_| Error::Reference)?;
                visitor.visit_i64(!number)
            }
            UINT => {
                column.last_int = number;
                visitor.visit_u64(number)
            }
            _ => {
                let delta = (number >> 1) ^ (number & 1).wrapping_neg();
                column.last_int = column.last_int.wrapping_add(delta);
                visitor.visit_u64(column.last_int)
            }
        }
    }

    fn text<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        match tag {
            TEXT_EMPTY => visitor.visit_str(""),
            TEXT_LONG => {
                let place = self.reader.place()?;
                visitor.visit_str(self.reader.text_at(place)?)
            }
            _ => {
                let number = if tag == TEXT { self.reader.new_text(self.column)? } else { self.reader.count()? };
                self.kept(TEXT, number, visitor)
            }
        }
    }

    fn byte_string<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        if tag == BYTES_KEPT {
            let number = self.reader.count()?;
            return self.kept(BYTES, number, visitor);
        }
        let place = self.reader.place()?;
        if tag == BYTES && place.1 - place.0 > TEXT_KEPT_MAX {
            return Err(Error::Reference);
        }
        if tag == BYTES && self.reader.byte_strings.len() < KEPT_MAX {
            self.reader.byte_strings.push(place);
            let number = self.reader.byte_strings.len() - 1;
            return self.kept(BYTES, number, visitor);
        }
        visitor.visit_bytes(&self.reader.bytes[place.0..place.1])
    }

    fn float<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        match tag {
            FLOAT_ZERO => visitor.visit_f64(0.0),
            FLOAT => match self.reader.float()? {
                (_, Some(number)) => self.kept(FLOAT, number, visitor),
                (float, None) => visitor.visit_f64(float),
            },
            _ => {
                let number = self.reader.count()?;
                self.kept(FLOAT, number, visitor)
            }
        }
    }

    /// Something that is kept.
    fn kept<'de, V: Visitor<'de>>(self, kind: u8, number: usize, visitor: V) -> Result<V::Value, Error> {
        let reader = self.reader;
        reader.columns[self.column].last_kept = Some((kind, number));
        match kind {
            TEXT => {
                let place = reader.texts.get(number).ok_or(Error::Reference)?;
                visitor.visit_str(&reader.kept[place.0..place.1])
            }
            BYTES => {
                let place = reader.byte_strings.get(number).ok_or(Error::Reference)?;
                visitor.visit_bytes(&reader.bytes[place.0..place.1])
            }
            _ => visitor.visit_f64(*reader.floats.get(number).ok_or(Error::Reference)?),
        }
    }

    fn list<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        let left = if tag == SEQ { self.reader.length()? } else { 0 };
        let column = self.column;
        self.reader.deeper(|reader| {
            let mut items = Items { reader, column, left };
            let value = visitor.visit_seq(&mut items)?;
            if items.left == 0 { Ok(value) } else { Err(Error::Long) }
        })
    }

    fn map<'de, V: Visitor<'de>>(self, tag: u8, visitor: V) -> Result<V::Value, Error> {
        let left = if tag == MAP { self.reader.length()? } else { 0 };
        let column = self.column;
        self.reader.deeper(|reader| {
            let mut items = Items { reader, column, left };
            let value = visitor.visit_map(&mut items)?;
            if items.left == 0 { Ok(value) } else { Err(Error::Long) }
        })
    }

    /// `names` of a type that knows its fields by place, in order.
    fn fields<'de, V: Visitor<'de>>(
        self,
        shape: &Shape,
        names: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.reader.deeper(|reader| {
            let mut fields = Fields { reader, shape, names, next: 0 };
            let value = visitor.visit_map(&mut fields)?;
            if fields.next == shape.fields.len() { Ok(value) } else { Err(Error::Long) }
        })
    }

    /// The shape that this byte begins a value of, if it does.
    fn shape(&mut self, byte: u8) -> Result<Option<Rc<Shape>>, Error> {
        match byte {
            STRUCT_SHORT..TEXT_KEPT_SHORT => self.reader.shape(usize::from(byte - STRUCT_SHORT)).map(Some),
            STRUCT => {
                let number = self.reader.count()?;
                self.reader.shape(number).map(Some)
            }
            STRUCT_NEW => self.reader.new_shape().map(Some),
            _ => Ok(None),
        }
    }

    /// The text that this byte begins, if it begins a short one.
    fn short_text(&mut self, byte: u8) -> Result<Option<&str>, Error> {
        let number = match byte {
            TEXT_KEPT_SHORT..SMALL => usize::from(byte - TEXT_KEPT_SHORT),
            TEXT_KEPT => self.reader.count()?,
            TEXT => self.reader.new_text(self.column)?,
            SAME => match self.reader.columns[self.column].last_kept {
                Some((TEXT, number)) => number,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let reader = &mut *self.reader;
        reader.columns[self.column].last_kept = Some((TEXT, number));
        let place = reader.texts.get(number).ok_or(Error::Reference)?;
        Ok(Some(&reader.kept[place.0..place.1]))
    }

    fn value<'de, V: Visitor<'de>>(self, byte: u8, visitor: V) -> Result<V::Value, Error> {
        let tag = match head(byte) {
            Head::Tag(tag) => tag,
            Head::Text(number) => return self.kept(TEXT, number, visitor),
            Head::Shape(number) => {
                let shape = self.reader.shape(number)?;
                return self.fields(&shape, None, visitor);
            }
        };
        match tag {
            SMALL..=u8::MAX => visitor.visit_u64(u64::from(tag & !SMALL)),
            NONE => visitor.visit_unit(),
            FALSE | TRUE => visitor.visit_bool(tag == TRUE),
            UINT | NEGATIVE | DELTA => self.number(tag, visitor),
            SAME_INT => visitor.visit_u64(self.reader.columns[self.column].last_int),
            FLOAT_ZERO | FLOAT | FLOAT_KEPT => self.float(tag, visitor),
            TEXT_EMPTY | TEXT | TEXT_KEPT | TEXT_LONG => self.text(tag, visitor),
            BYTES | BYTES_KEPT | BYTES_LONG => self.byte_string(tag, visitor),
            SAME => {
                let (kind, number) = self.reader.columns[self.column].last_kept.ok_or(Error::Reference)?;
                self.kept(kind, number, visitor)
            }
            SEQ_EMPTY | SEQ => self.list(tag, visitor),
            MAP_EMPTY | MAP => self.map(tag, visitor),
            STRUCT => {
                let number = self.reader.count()?;
                let shape = self.reader.shape(number)?;
                self.fields(&shape, None, visitor)
            }
            STRUCT_NEW => {
                let shape = self.reader.new_shape()?;
                self.fields(&shape, None, visitor)
            }
            // Only who asks for a variant can take one.
            other => Err(Error::Tag(other)),
        }
    }
}

impl<'de> de::Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        let tag = self.tag()?;
        self.value(tag, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.tag()? {
            NONE => visitor.visit_none(),
            tag => visitor.visit_some(Value { tag: Some(tag), ..self }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.tag()? {
            VARIANT => {
                let column = self.column;
                self.reader.deeper(|reader| visitor.visit_enum(Variant { reader, column }))
            }
            tag => {
                if let Some(name) = self.short_text(tag)? {
                    return visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(name));
                }
                let name: Box<str> = de::Deserialize::deserialize(Value { tag: Some(tag), ..self })?;
                visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(&*name))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let tag = self.tag()?;
        let Some(shape) = self.shape(tag)? else { return self.value(tag, visitor) };
        self.fields(&shape, Some(names).filter(|_| known_by_place(name)), visitor)
    }

    /// What nobody asks for is read all the same: what follows may refer to it.
    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        match self.tag()? {
            VARIANT => {
                let column = self.column;
                self.reader.deeper(|reader| {
                    for _ in 0..2 {
                        let value = Value { reader: &mut *reader, column, tag: None };
                        let _: de::IgnoredAny = de::Deserialize::deserialize(value)?;
                    }
                    Ok(())
                })?;
                visitor.visit_unit()
            }
            tag => self.value(tag, visitor),
        }
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// What a list or map still holds.
struct Items<'r, 'b> {
    reader: &'r mut Reader<'b>,
    column: usize,
    left: usize,
}

impl Items<'_, '_> {
    fn item<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Value { reader: &mut *self.reader, column: self.column, tag: None })
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.item(seed).map(Some)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, '_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.item(seed).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        self.item(seed)
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// What a struct still holds.
struct Fields<'r, 'b> {
    reader: &'r mut Reader<'b>,
    shape: &'r Shape,
    names: Option<&'static [&'static str]>,
    next: usize,
}

impl<'de> de::MapAccess<'de> for Fields<'_, '_> {
    type Error = Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(field) = self.shape.fields.get(self.next) else { return Ok(None) };
        if let Some(place) = self.names.and_then(|names| self.shape.place(field, names)) {
            let place: U64Deserializer<Error> = place.into_deserializer();
            return seed.deserialize(place).map(Some);
        }
        let name: StrDeserializer<'_, Error> = (*field.name).into_deserializer();
        seed.deserialize(name).map(Some)
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let field = self.shape.fields.get(self.next).ok_or(Error::Short)?;
        self.next += 1;
        let tag = Some(field.constant).filter(|constant| *constant != OPEN);
        seed.deserialize(Value { reader: &mut *self.reader, column: field.column, tag })
    }
    fn size_hint(&self) -> Option<usize> {
        Some(self.shape.fields.len() - self.next)
    }
}

/// A variant that holds something.
struct Variant<'r, 'b> {
    reader: &'r mut Reader<'b>,
    column: usize,
}

impl<'de, 'r, 'b> de::EnumAccess<'de> for Variant<'r, 'b> {
    type Error = Error;
    type Variant = Value<'r, 'b>;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Value<'r, 'b>), Error> {
        let Self { reader, column } = self;
        let name = seed.deserialize(Value { reader: &mut *reader, column, tag: None })?;
        Ok((name, Value { reader, column, tag: None }))
    }
}

impl<'de> de::VariantAccess<'de> for Value<'_, '_> {
    type Error = Error;
    fn unit_variant(self) -> Result<(), Error> {
        de::Deserialize::deserialize(self)
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_any(self, visitor)
    }
    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        de::Deserializer::deserialize_any(self, visitor)
    }
}
