//! The serde side of [`Writer`]: which of its words each kind of value is written with.

use serde::ser::{self, Serialize};

use super::writer::{Writer, put_number};
use super::{Error, FALSE, MAP, MAP_EMPTY, NONE, OPEN, SEQ, SEQ_EMPTY, TRUE, VARIANT, is_constant};

/// What a struct, or a map that has a shape, has brought so far.
struct Open {
    kind: usize,
    next: usize,
    start: usize,
    /// The column that it lies in itself.
    outer: usize,
    /// Per field its column, and what it holds if that is a constant.
    key: Vec<u32>,
}

impl Open {
    fn new(writer: &Writer, kind: usize, len: usize) -> Self {
        Self { kind, next: 0, start: writer.out.len(), outer: writer.column, key: Vec::with_capacity(len) }
    }

    /// Begins a field; gives its column.
    fn name(&mut self, writer: &mut Writer, name: &str) -> u32 {
        let column = writer.column_of(self.kind, &mut self.next, name);
        writer.column = column as usize;
        column
    }

    fn value<T: Serialize + ?Sized>(&mut self, writer: &mut Writer, column: u32, value: &T) -> Result<(), Error> {
        let at = writer.out.len();
        value.serialize(&mut *writer)?;
        let constant = match &writer.out[at..] {
            [byte] if is_constant(*byte) => *byte,
            _ => OPEN,
        };
        if constant != OPEN {
            writer.out.truncate(at);
        }
        self.key.push(column << 8 | u32::from(constant));
        Ok(())
    }

    fn close(self, writer: &mut Writer) {
        writer.column = self.outer;
        writer.close_struct(self.start, self.key);
    }
}

/// A struct under way.
pub struct Fields<'w> {
    writer: &'w mut Writer,
    open: Open,
}

impl<'w> Fields<'w> {
    fn new(writer: &'w mut Writer, name: &'static str, len: usize) -> Self {
        let kind = writer.kind(name);
        let open = Open::new(writer, kind, len);
        Self { writer, open }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        let column = self.open.name(self.writer, name);
        self.open.value(self.writer, column, value)
    }

    fn close(self) {
        self.open.close(self.writer);
    }
}

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.put(name, value)
    }
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeStructVariant for Fields<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        self.put(name, value)
    }
    fn end(self) -> Result<(), Error> {
        self.close();
        Ok(())
    }
}

/// A list under way.
pub struct Items<'w> {
    writer: &'w mut Writer,
}

macro_rules! items {
    ($($of:ident $put:ident),*) => {$(
        impl ser::$of for Items<'_> {
            type Ok = ();
            type Error = Error;
            fn $put<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                value.serialize(&mut *self.writer)
            }
            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

items!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// A map under way.
pub struct Entries<'w> {
    writer: &'w mut Writer,
    len: usize,
    /// None for one without a shape.
    open: Option<Open>,
    column: u32,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return key.serialize(&mut *self.writer) };
        let at = self.writer.out.len();
        self.writer.captured = Some(None);
        let written = key.serialize(&mut *self.writer);
        let name = self.writer.captured.take().flatten();
        written?;
        if let Some(mut name) = name {
            if self.writer.out.len() > at {
                return Err(Error::Other("a text stands in a map's key beside something else".to_owned()));
            }
            self.column = open.name(self.writer, &name);
            name.clear();
            self.writer.spare = name;
            return Ok(());
        }
        // Its keys are no texts.
        if !open.key.is_empty() {
            return Err(Error::Other("the keys of a map are of two kinds".to_owned()));
        }
        let mut head = vec![MAP];
        put_number(&mut head, self.len as u64);
        self.writer.out.splice(open.start..open.start, head);
        self.open = None;
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        match &mut self.open {
            Some(open) => open.value(self.writer, self.column, value),
            None => value.serialize(&mut *self.writer),
        }
    }
    fn end(self) -> Result<(), Error> {
        if let Some(open) = self.open {
            open.close(self.writer);
        }
        Ok(())
    }
}

impl Writer {
    fn items(&mut self, len: Option<usize>) -> Result<Items<'_>, Error> {
        match len {
            Some(0) => self.out.push(SEQ_EMPTY),
            Some(len) => self.tagged(SEQ, len as u64),
            None => return Err(Error::Other("a list of unknown length".to_owned())),
        }
        Ok(Items { writer: self })
    }
}

macro_rules! integers {
    ($($name:ident $number:ty, $put:ident $wide:ty);*) => {$(
        fn $name(self, number: $number) -> Result<(), Error> {
            self.$put(<$wide>::from(number));
            Ok(())
        }
    )*};
}

impl<'w> ser::Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'w>;
    type SerializeTuple = Items<'w>;
    type SerializeTupleStruct = Items<'w>;
    type SerializeTupleVariant = Items<'w>;
    type SerializeMap = Entries<'w>;
    type SerializeStruct = Fields<'w>;
    type SerializeStructVariant = Fields<'w>;

    integers!(
        serialize_i8 i8, int i64; serialize_i16 i16, int i64; serialize_i32 i32, int i64;
        serialize_u8 u8, uint u64; serialize_u16 u16, uint u64; serialize_u32 u32, uint u64
    );

    fn serialize_i64(self, number: i64) -> Result<(), Error> {
        self.int(number);
        Ok(())
    }

    fn serialize_u64(self, number: u64) -> Result<(), Error> {
        self.uint(number);
        Ok(())
    }

    fn serialize_bool(self, is: bool) -> Result<(), Error> {
        self.out.push(if is { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_f32(self, number: f32) -> Result<(), Error> {
        self.float(f64::from(number));
        Ok(())
    }

    fn serialize_f64(self, number: f64) -> Result<(), Error> {
        self.float(number);
        Ok(())
    }

    fn serialize_char(self, c: char) -> Result<(), Error> {
        self.text(c.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.text(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.byte_string(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.out.push(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.text(variant);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.out.push(VARIANT);
        self.text(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items<'w>, Error> {
        self.items(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Items<'w>, Error> {
        self.items(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items<'w>, Error> {
        self.items(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items<'w>, Error> {
        self.out.push(VARIANT);
        self.text(variant);
        self.items(Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Entries<'w>, Error> {
        let len = len.ok_or_else(|| Error::Other("a map of unknown length".to_owned()))?;
        let kind = if len == 0 { None } else { self.map_kind(len) };
        let open = kind.map(|kind| Open::new(self, kind, len));
        match (len, &open) {
            (0, _) => self.out.push(MAP_EMPTY),
            (_, None) => self.tagged(MAP, len as u64),
            (_, Some(_)) => {}
        }
        Ok(Entries { writer: self, len, open, column: 0 })
    }

    fn serialize_struct(self, name: &'static str, len: usize) -> Result<Fields<'w>, Error> {
        Ok(Fields::new(self, name, len))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Fields<'w>, Error> {
        self.out.push(VARIANT);
        self.text(variant);
        Ok(Fields::new(self, variant, len))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
