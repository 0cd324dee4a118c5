use super::*;

fn number(text: &str) -> Number {
    Number::from_text(text).unwrap_or_else(|| panic!("{text} is a number"))
}

#[test]
fn prints_the_shortest_text() {
    let check = |text: &str, expected: &str| assert_eq!(number(text).to_string(), expected, "{text}");
    check("0", "0");
    check("-5", "-5");
    check("1.50", "1.5");
    check("1e30", "1000000000000000000000000000000");
    check("1e-10", "0.0000000001");
    check("123456789012345678901234567890", "123456789012345678901234567890");
    check("0.1", "0.1");
    check("-0", "-0");
    check("1e200", &format!("1{}", "0".repeat(200)));
}

#[test]
fn arithmetic_keeps_512_bits() {
    let third = number("1").divided_by(&number("3")).unwrap();
    assert_eq!(third.to_string(), format!("0.{}5", "3".repeat(154)));
    assert_eq!(number("0.1").plus(&number("0.2")).unwrap().to_string(), "0.3");
    assert_eq!(number("7.5").remainder(&number("2")).unwrap().to_string(), "1.5");
    assert_eq!(number("-7").remainder(&number("3")).unwrap().to_string(), "-1");
    assert_eq!(number("4").minus(&number("4.25")).unwrap().to_string(), "-0.25");
    assert_eq!(number("1").divided_by(&number("0")), Some(Number::infinity(false)));
    assert_eq!(number("0").divided_by(&number("0")), None);
}

#[test]
fn floats_print_as_floats() {
    assert_eq!(Number::from_f64(2f64.powi(100)).unwrap().to_string(), "1267650600228229400000000000000");
    assert_eq!(Number::from_f64(2f64.sqrt()).unwrap().to_string(), "1.4142135623730951");
    assert_eq!(Number::from_f64(0.1).unwrap().to_string(), "0.1");
    assert_eq!(Number::from_f64(-0.0).unwrap().to_string(), "-0");
    assert_eq!(Number::from_f64(f64::NAN), None);
}

#[test]
fn rounds_down_and_up() {
    let check = |text: &str, floor: &str, ceil: &str| {
        assert_eq!(number(text).floor().to_string(), floor, "{text}");
        assert_eq!(number(text).ceil().to_string(), ceil, "{text}");
    };
    check("1.2", "1", "2");
    check("-1.2", "-2", "-1");
    check("-0.5", "-1", "0");
    check("3", "3", "3");
}

#[test]
fn turns_into_rust_numbers() {
    assert_eq!(number("9223372036854775807").as_i64(), Some(i64::MAX));
    assert_eq!(number("-9223372036854775808").as_i64(), Some(i64::MIN));
    assert_eq!(number("9223372036854775808").as_i64(), None);
    assert_eq!(number("1.5").as_i64(), None);
    assert_eq!(number("1.1").as_f64(), 1.1);
    assert!(number("10") > number("9.99"));
    assert!(number("-10") < number("-9.99"));
}

#[test]
fn absurd_texts_stay_small() {
    assert_eq!(Number::from_text("1e99999999999"), None);
    assert_eq!(Number::from_text(&"9".repeat(5000)), None);
    assert_eq!(Number::from_text("1e-99999"), None);
    assert_eq!(Number::from_text(""), None);
    assert_eq!(Number::from_text("0x10"), None);
    assert!(!number("1e3900").is_finite());
}
