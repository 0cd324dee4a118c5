use crate::{Limits, Problem, Scope, Source, Value, parse};

/// The value of `v` in a job file, as JSON.
fn value(text: &str) -> Result<String, String> {
    let source = Source::new("t.hcl", text);
    match parse(&source, &Scope::job()) {
        Ok(body) => Ok(body.attribute("v").expect("an attribute v").value.to_json().to_string()),
        Err(problems) => Err(lines(&problems, &source)),
    }
}

fn lines(problems: &[Problem], source: &Source) -> String {
    problems.iter().map(|problem| problem.one_line(source)).collect::<Vec<_>>().join("\n")
}

fn check(expression: &str, expected: &str) {
    assert_eq!(value(&format!("v = {expression}\n")), Ok(expected.to_string()), "{expression}");
}

/// The problem's text must contain what is expected.
fn refuse(text: &str, expected: &str) {
    match value(text) {
        Ok(value) => panic!("{text}: refused with {expected}, not {value}"),
        Err(problems) => assert!(problems.contains(expected), "{text}:\nwant {expected}\nhave {problems}"),
    }
}

#[test]
fn operators_and_traversals() {
    check("[{ a = 1 }, { a = 2 }][*].a", "[1,2]");
    check("[[1, 2], [3]][*][0]", "[1,3]");
    check("[{ a = [{ b = 1 }] }][*].a[*].b", "[[1]]");
    check("{ a = 1 }.a + 2 * 3", "7");
    check("-(2) - -3", "1");
    check("false ? 1 : \"a\"", "\"a\"");
    check("true ? \"x\" : nope.nope", "\"x\"");
    check("[for k, v in { a = 1 } : \"${k}${v}\"]", "[\"a1\"]");
    check("{ for v in [\"a\", \"a\"] : v => 1... }", "{\"a\":[1,1]}");
    check("\"a\\u00e9${1}\"", "\"aé1\"");
    check("{ \"a.b\" = 1, (\"c\") = 2 }", "{\"a.b\":1,\"c\":2}");
    check("{ a = 1, b = 2, a = 3, a = 4 }", "{\"a\":4,\"b\":2}");
    check("[1, 2] == [1, 2] && \"a\" != 1", "true");
}

#[test]
fn unknown_names_stay_only_in_job_files() {
    check("\"${attr.x}-${ node.y }\"", "\"${attr.x}-${ node.y }\"");
    check("attr.x[0][\"k\"].y", "\"${attr.x[0][\\\"k\\\"].y}\"");
    let source = Source::new("agent.hcl", "bind = adr\n");
    let mut scope = Scope::settings();
    scope.variables.insert("addr".to_string(), Value::from("0.0.0.0"));
    let problems = parse(&source, &scope).unwrap_err();
    assert_eq!(
        lines(&problems, &source),
        "agent.hcl:1,8-11: Unknown variable; There is no variable named \"adr\". Did you mean \"addr\"?"
    );
}

#[test]
fn several_problems_are_reported_at_once() {
    let source = Source::new("t.hcl", "a = upr(1)\nb {\n  c = 1 + \"x\"\n}\nd = [1][3]\n");
    let problems = parse(&source, &Scope::job()).unwrap_err();
    assert_eq!(
        lines(&problems, &source),
        "t.hcl:1,5-8: Call to unknown function; There is no function named \"upr\". Did you mean \"upper\"?\n\
         t.hcl:5,8-11: Invalid index; The given key does not identify an element in this collection value: the given index is greater than or equal to the length of the collection.\n\
         t.hcl:3,12-13: Invalid operand; Unsuitable value for right operand: a number is required."
    );
}

#[test]
fn syntax_errors_have_known_words() {
    refuse("a = \"x\nb = 1\n", "t.hcl:1,7-2,1: Invalid multi-line string;");
    refuse("a = <<E\nx\n", "t.hcl:1,5-7: Unterminated template string;");
    refuse("a = [1,\n", "t.hcl:1,5-6: Unclosed bracket;");
    refuse("a {\n  b = 1\n", "t.hcl:1,3-4: Unclosed configuration block;");
    refuse("a = \"\\q\"\n", "Invalid escape sequence;");
    refuse("a = 1 b = 2\n", "t.hcl:1,7-8: Missing newline after argument;");
    refuse("a = ]\n", "t.hcl:1,5-6: Invalid expression;");
    refuse("a { b { c = 1 } }\n", "Argument definition required;");
    refuse("a {\n  \"b\" = 1\n}\n", "Invalid argument name;");
    refuse("a.b = 1\n", "Invalid block definition;");
    refuse("v = { a = 1 b = 2 }\n", "Missing attribute separator;");
    refuse("v = { a.b = 1 }\n", "Ambiguous attribute key;");
    refuse(
        "a = 1\nb = 1\na = 2\nb = 2\n",
        "t.hcl:4,1-2: Attribute redefined; The argument \"b\" was already set at t.hcl:2,1-2.",
    );
}

#[test]
fn texts_of_any_shape_are_read() {
    assert_eq!(value("\u{feff}v = 1\r\n"), Ok("1".to_string()));
    assert_eq!(value("v = <<E\r\na\r\nE\r\n"), Ok("\"a\\r\\n\"".to_string()));
    assert_eq!(value("v = 1"), Ok("1".to_string()));
    assert_eq!(value("v = <<-E\n    a\n  E\n"), Ok("\"a\\n\"".to_string()));
    assert_eq!(value("x = <<E\nE\nv = <<E\nE\n"), Ok("\"\"".to_string()));
    assert_eq!(value("v = <<E\nE x\nE\n"), Ok("\"E x\\n\"".to_string()));
    assert_eq!(value("v = <<E\na\nE \t\n"), Ok("\"a\\n\"".to_string()));
    assert_eq!(value("v = [<<E\na\nE \n]\n"), Ok("[\"a\\n\"]".to_string()));
    assert_eq!(value("# only\n/* a */ v /* b */ = 2 // c\n"), Ok("2".to_string()));
}

#[test]
fn size_and_nesting_are_bounded() {
    let nested =
        |open: &str, close: &str, times: usize| format!("v = {}1{}\n", open.repeat(times), close.repeat(times));
    for (open, close) in
        [("[", "]"), ("(", ")"), ("{a=", "}"), ("-(", ")"), ("upper(", ")"), ("\"${", "}\""), ("true ? (", ") : 0")]
    {
        for times in [20, 55, 500, 50_000] {
            let outcome = value(&nested(open, close, times));
            assert!(times < 50 || outcome.is_ok() || outcome.is_err_and(|text| text.contains("too deep")));
        }
    }
    for open in ["[", "{a=", "\"${", "[for a in ", "{for a in b: ", "f(", "a ? b : ", "a {\n", "a[", "-"] {
        assert!(value(&format!("v = {}", open.repeat(50))).is_err());
        assert!(value(&format!("v = \"{}", "%{ if a }".repeat(50))).is_err());
        assert!(value(&format!("v = <<E\n{}\nE\n", "%{ for a in b }".repeat(50))).is_err());
    }
    refuse(&format!("v = {}1\n", "!".repeat(100_000)), "Nesting too deep");
    refuse(&format!("v = 1{}\n", " + 1".repeat(100_000)), "Nesting too deep");
    refuse(&format!("v = {}1\n", "true ? 1 : ".repeat(10_000)), "Nesting too deep");
    refuse(&"{".repeat(100_000), "Nesting too deep");
    let long = format!("v = \"{}\"\n", "x".repeat(2_000_000));
    refuse(&long, "Text too large");
    let source = Source::new("t.hcl", &long);
    let wide = Scope { limits: Limits { source_bytes: 4_000_000, ..Limits::default() }, ..Scope::job() };
    assert!(parse(&source, &wide).is_ok());
}

#[test]
fn expansion_is_bounded() {
    let many = "range(1000)";
    refuse(&format!("v = [for a in {many} : [for b in {many} : [for c in {many} : c]]]\n"), "Expansion too large");
    refuse(
        &format!("v = \"%{{ for a in {many} }}%{{ for b in {many} }}xxxxxxxxxx%{{ endfor }}%{{ endfor }}\"\n"),
        "Expansion too large",
    );
    refuse("v = range(5000)\n", "more than 1024 values");
    refuse("v = format(\"%999999999d\", 1)\n", "width or precision above");
    refuse(&format!("v = [for a in {many} : [for b in {many} : try(nope(), 1)]]\n"), "Expansion too large");
    let doubling: String = (1..40).map(|i| format!("  a{i} = [local.a{}, local.a{}]\n", i - 1, i - 1)).collect();
    let text = format!("locals {{\n  a0 = 1\n{doubling}}}\n");
    let problems = crate::parse_job_file(&Source::new("t.hcl", text), &crate::Inputs::default()).unwrap_err();
    assert!(problems.iter().any(|problem| problem.summary == "Expansion too large"));
    let deep: String = (1..3000).map(|i| format!("  a{i} = [local.a{}]\n", i - 1)).collect();
    let text = format!("locals {{\n  a0 = 1\n{deep}}}\n");
    let problems = crate::parse_job_file(&Source::new("t.hcl", text), &crate::Inputs::default()).unwrap_err();
    assert!(problems.iter().any(|problem| problem.summary == "Value too deep"));
    let x = "x".repeat(4000);
    refuse(&format!("v = replace(replace(\"{x}\", \"\", \"{x}\"), \"\", \"{x}\")\n"), "more than");
}
