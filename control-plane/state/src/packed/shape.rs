//! A shape as a reader knows it: the fields of a struct, and which fields of the type that is read they are.
//!
//! Derived readers know their fields by number as well as by name. A name is looked up once per shape and type instead of once
//! per value: a state of a million allocs has some hundred million fields. A field with an alias would break that (its numbers
//! are not those of the names): types that are packed have none (tests/architecture looks).

use std::cell::Cell;

use super::shape_cost;

/// A field of a struct.
pub struct Field {
    pub column: usize,
    pub constant: u8,
    /// Which field of [`Shape::read_as`] it is; [`NO_PLACE`] for none.
    place: Cell<u32>,
    pub name: Box<str>,
}

const NO_PLACE: u32 = u32::MAX;

impl Field {
    pub fn new(column: usize, constant: u8, name: &str) -> Self {
        Self { column, constant, place: Cell::new(NO_PLACE), name: name.into() }
    }
}

/// The fields of a struct.
pub struct Shape {
    pub fields: Box<[Field]>,
    /// The names of the type that was last read from it.
    read_as: Cell<&'static [&'static str]>,
}

impl Shape {
    pub fn new(fields: Vec<Field>) -> Self {
        Self { fields: fields.into(), read_as: Cell::new(&[]) }
    }

    pub fn cost(&self) -> usize {
        shape_cost(self.fields.len(), self.fields.iter().map(|field| field.name.len()).sum())
    }

    /// Which field this one is of the type with these names; none for one that it does not have.
    pub fn place(&self, field: &Field, names: &'static [&'static str]) -> Option<u64> {
        // Asked before each field: a value inside may have the same shape and be of another type.
        if !std::ptr::eq(self.read_as.replace(names), names) {
            self.find_fields(names);
        }
        let place = field.place.get();
        (place != NO_PLACE).then(|| u64::from(place))
    }

    fn find_fields(&self, names: &[&str]) {
        let mut next = 0;
        for field in &self.fields {
            // Usually they stand in the order in which the type has them.
            let mut places = (next..names.len()).chain(0..next);
            let place = places.find(|place| *names[*place] == *field.name);
            next = place.map_or(next, |place| place + 1);
            field.place.set(place.map_or(NO_PLACE, |place| place as u32));
        }
    }
}

/// False for those types of the standard library that know their fields by name alone.
pub fn known_by_place(name: &str) -> bool {
    !matches!(name, "Duration" | "SystemTime" | "Range" | "RangeInclusive" | "RangeFrom" | "RangeTo")
}
