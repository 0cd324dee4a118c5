use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Error, FIELDS_MAX, SHAPES_BYTES_MAX, SHAPES_MAX, Writer, from_bytes, shape_cost, to_bytes};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Thing {
    name: String,
    at: i64,
    size: u64,
    share: f64,
    is_open: bool,
    kind: Kind,
    inner: Option<Box<Thing>>,
    words: BTreeMap<String, String>,
    parts: Vec<(u8, Kind)>,
    value: serde_json::Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Kind {
    #[default]
    Plain,
    Number(i32),
    Pair(u8, String),
    Named {
        name: String,
        other: Option<bool>,
    },
}

fn things() -> Vec<Thing> {
    let thing = |number: u64| Thing {
        name: format!("web.front[{number}] ä"),
        at: 1_700_000_000_000_000_000 + number as i64 * 1_000_003,
        size: number * 100,
        share: 1.0 / (number % 3 + 1) as f64,
        is_open: number.is_multiple_of(2),
        kind: match number % 4 {
            0 => Kind::Plain,
            1 => Kind::Number(-5),
            2 => Kind::Pair(3, "x".repeat(300)),
            _ => Kind::Named { name: "n".to_owned(), other: Some(true) },
        },
        // The inner one has the shape of others, and stands at the start of an outer one of the same shape.
        inner: number.is_multiple_of(5).then(|| Box::new(Thing { inner: Some(Box::default()), ..Thing::default() })),
        words: BTreeMap::from([("a".to_owned(), "front".to_owned())]),
        parts: vec![(1, Kind::Plain), (200, Kind::Number(i32::MIN))],
        value: serde_json::json!({"list": [1, -1, 2.5, null, "front"], "deep": {"er": [[]]}}),
    };
    (0..50).map(thing).collect()
}

#[test]
fn a_type_finds_its_fields_wherever_they_stand() {
    #[derive(Serialize)]
    #[serde(rename = "Row")]
    struct Written {
        gone: String,
        b: u8,
        wait: std::time::Duration,
        a: String,
    }
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename = "Row")]
    struct Read {
        a: String,
        new: Option<u8>,
        b: u8,
        wait: std::time::Duration,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Other {
        b: u8,
        a: String,
    }
    let wait = std::time::Duration::new(7, 300);
    let written = |b| Written { gone: "x".to_owned(), b, wait, a: "y".to_owned() };
    let bytes = to_bytes(&(written(200), written(3), written(4))).unwrap();
    // The same shape is read as one type, as another, and as the first again.
    let (one, other, again): (Read, Other, Read) = from_bytes(&bytes).unwrap();
    let read = |b| Read { a: "y".to_owned(), new: None, b, wait };
    assert_eq!((one, again), (read(200), read(4)));
    assert_eq!(other, Other { b: 3, a: "y".to_owned() });
}

#[test]
fn what_is_packed_is_read_again() {
    let things = things();
    assert_eq!(from_bytes::<Vec<Thing>>(&to_bytes(&things).unwrap()).unwrap(), things);
    let check = |value: serde_json::Value| {
        assert_eq!(from_bytes::<serde_json::Value>(&to_bytes(&value).unwrap()).unwrap(), value, "{value}");
    };
    for number in [0, 1, 127, 128, 1 << 40, i64::MAX] {
        check(number.into());
        check((-number).into());
    }
    check(u64::MAX.into());
    check(serde_json::json!([[1_000, 1_001, 999], [u64::MAX, 0, 5_000_000], "", "same", "same", "sam"]));
}

#[test]
fn maps_have_any_keys_and_any_number_of_them() {
    let many: BTreeMap<String, f64> = (0..100).map(|n| (format!("key {n}"), f64::from(n % 3))).collect();
    let few =
        |n: u32| BTreeMap::from([(format!("key {n}"), 0.0), ("same".to_owned(), f64::from(n)), (String::new(), 0.5)]);
    let maps: Vec<BTreeMap<String, f64>> = (0..200).map(few).chain([many, BTreeMap::new()]).collect();
    assert_eq!(from_bytes::<Vec<BTreeMap<String, f64>>>(&to_bytes(&maps).unwrap()).unwrap(), maps);
    let numbers = vec![BTreeMap::from([(1_u64, true), (1000, false)]), BTreeMap::new(), BTreeMap::from([(1000, true)])];
    assert_eq!(from_bytes::<Vec<BTreeMap<u64, bool>>>(&to_bytes(&numbers).unwrap()).unwrap(), numbers);
    assert!(to_bytes(&BTreeMap::from([((1_u8, String::new()), true)])).is_err(), "it would not read again");
}

#[test]
fn what_repeats_is_said_once() {
    let (one, many) = (things()[..1].to_vec(), vec![things()[1].clone(); 1000]);
    let named = |things: &[Thing]| rmp_serde::to_vec_named(things).unwrap().len();
    let packed = |things: &[Thing]| to_bytes(&things.to_vec()).unwrap().len();
    assert!(packed(&one) < named(&one) * 2);
    assert!(packed(&many) * 2 < named(&many), "{} and {}", packed(&many), named(&many));
}

#[test]
fn fields_that_came_and_went_are_no_matter() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        name: String,
        gone: Vec<Kind>,
        at: i64,
        also_gone: Kind,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Since {
        #[serde(default = "seven")]
        new: u8,
        at: i64,
        name: String,
    }
    fn seven() -> u8 {
        7
    }
    let before = |name: &str| Before {
        name: name.to_owned(),
        gone: vec![Kind::Number(1), Kind::Named { name: "later".to_owned(), other: None }],
        at: 12_345,
        also_gone: Kind::Pair(1, name.to_owned()),
    };
    let read: Vec<Since> = from_bytes(&to_bytes(&vec![before("one"), before("later")]).unwrap()).unwrap();
    let since = |name: &str| Since { new: 7, at: 12_345, name: name.to_owned() };
    assert_eq!(read, [since("one"), since("later")]);
}

#[test]
fn damaged_bytes_end_in_an_error_or_a_value() {
    let whole = to_bytes(&things()[..8].to_vec()).unwrap();
    for cut in 0..whole.len() {
        assert!(from_bytes::<Vec<Thing>>(&whole[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(from_bytes::<Vec<Thing>>(&[whole.as_slice(), &[0]].concat()), Err(Error::Long));
    for place in 0..whole.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[place] ^= change;
            // A value that is another one is for the digest around it to find.
            let _ = from_bytes::<Vec<Thing>>(&bytes);
        }
    }
    let deep = [super::SEQ, 1].repeat(100_000);
    assert_eq!(from_bytes::<serde_json::Value>(&deep), Err(Error::Depth));
    assert_eq!(from_bytes::<serde_json::Value>(&[super::SEQ, 0xff, 0xff, 0x03]), Err(Error::Short));
    assert_eq!(from_bytes::<serde_json::Value>(&[0x1f]), Err(Error::Tag(0x1f)));
    assert_eq!(from_bytes::<serde_json::Value>(&[super::SAME]), Err(Error::Reference));
    let long = [&[super::BYTES, 0x81, 0x02][..], &[7; 257]].concat();
    assert_eq!(from_bytes::<serde_json::Value>(&long), Err(Error::Reference));
}

/// Eight of these things, packed once and never again: another form is another version of the image, with a file of its own.
const PACKED: &[u8] = include_bytes!("../../tests/fixtures/packed/v2.bin");

#[test]
fn the_form_is_the_one_that_was_written_before() {
    let now = to_bytes(&things()[..8].to_vec()).unwrap();
    assert!(now == PACKED, "the packed form has changed: {now:02x?}");
    assert_eq!(from_bytes::<Vec<Thing>>(PACKED).unwrap(), things()[..8]);
}

/// A list of one empty struct per shape, each of so many fields that hold nothing.
fn shapes(count: usize, fields: usize) -> Vec<u8> {
    let number = |bytes: &mut Vec<u8>, number: usize| super::writer::put_number(bytes, number as u64);
    let mut bytes = vec![super::SEQ];
    number(&mut bytes, count);
    for shape in 0..count {
        bytes.push(super::STRUCT_NEW);
        number(&mut bytes, shape);
        number(&mut bytes, fields);
        // Column 0, no value, no name.
        bytes.extend([0, super::NONE, 0].repeat(fields));
    }
    bytes
}

#[test]
fn shapes_are_kept_within_a_bound() {
    let read = |count, fields| from_bytes::<serde::de::IgnoredAny>(&shapes(count, fields)).map(drop);
    let count = SHAPES_BYTES_MAX / shape_cost(FIELDS_MAX, 0);
    assert_eq!(read(count, FIELDS_MAX), Ok(()));
    assert_eq!(read(count + 1, FIELDS_MAX), Err(Error::Reference));
    assert_eq!(read(1, FIELDS_MAX + 1), Err(Error::Reference));
    // The one in the last place takes nothing away from the others.
    assert_eq!(read(SHAPES_MAX + 1, 1), Ok(()));
    assert_eq!(read(SHAPES_MAX + 2, 1), Err(Error::Reference));
}

#[test]
fn a_writer_that_has_no_room_for_shapes_says_them_again() {
    let things = things();
    let mut writer = Writer::default();
    writer.shapes_bytes = SHAPES_BYTES_MAX - shape_cost(8, 100);
    things.serialize(&mut writer).unwrap();
    assert_eq!(from_bytes::<Vec<Thing>>(&writer.out).unwrap(), things);
    assert!(writer.out.len() > to_bytes(&things).unwrap().len());
}
