use super::format;
use crate::Source;

fn laid_out(text: &str) -> String {
    format(&Source::new("t.hcl", text)).unwrap()
}

#[test]
fn lays_out_what_people_write() {
    let even = laid_out(include_str!("tests/uneven.hcl"));
    assert_eq!(even, include_str!("tests/even.hcl"));
    assert_eq!(laid_out(&even), even);
}

#[test]
fn keeps_what_is_not_layout() {
    let check = |text: &str, expected: &str| assert_eq!(laid_out(text), expected, "{text}");
    check("a = <<E\n  x ${  b  } y\n    z\n  E\nb=1\n", "a = <<E\n  x ${b} y\n    z\n  E\nb = 1\n");
    check(
        "a=\"x  ${ {b=1} }${  c }\"\r\n",
        "a = \"x  ${{ b = 1 }}${c}\"\r\n".replace("${{", "${ {").replace("}}$", "} }$").as_str(),
    );
    check("a = 1\n\n\n  # note\n b = -1 - -2 # end\n", "a = 1\n\n\n# note\nb = -1 - -2 # end\n");
    check("a /* kept */ \"b\" {\n}\n", "a /* kept */ \"b\" {\n}\n");
    check("a {\n b = 1\n}   ", "a {\n  b = 1\n}");
    check("é=1\nabc=2\n", "é   = 1\nabc = 2\n");
    check("\u{feff}a=1\n", "a = 1\n");
}

#[test]
fn refuses_what_is_no_hcl() {
    let source = Source::new("t.hcl", "a {\n");
    let problems = format(&source).unwrap_err();
    assert_eq!(problems[0].range(&source), "t.hcl:1,3-4");
}
