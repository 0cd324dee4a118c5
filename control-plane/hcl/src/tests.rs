use crate::{Limits, Problem, Scope, Source, Value, fuzz, parse};

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
    refuse("a = \"x\nb = 1\n", "t.hcl:1,5-6: Invalid multi-line string;");
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

#[test]
fn damaged_texts_never_panic() {
    let seeds = [
        "job \"a\" {\n  meta = { a = \"${upper(attr.x)}\", b = [for v in [1, 2] : v if v > 1] }\n}\n",
        "variable \"a\" {\n  type = list(string)\n  default = [\"x\"]\n}\nlocals {\n  b = var.a[*]\n}\nv = local.b\n",
        "v = <<-EOT\n  a ${~ 1 ~}\n  %{ if true ~}\n b %{ else }c%{ endif }\nEOT\nw = f(x...)\n",
        "dynamic \"x\" {\n  for_each = { a = 1 }\n  labels = [x.key]\n  content {\n    k = x.value.*.b\n  }\n}\n",
    ];
    let scraps =
        ["{", "}", "\"", "${", "%{", "<<E\n", "\n", "é", "[", ")", "=", "for ", "...", "\\", "1e999", "\u{0}", "~"];
    // A fixed sequence, so that a failure can be had again.
    let mut state: u64 = 42;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..1500 {
        let mut bytes = seeds[next(seeds.len())].as_bytes().to_vec();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            let scrap = scraps[next(scraps.len())].as_bytes();
            let cut = (at + next(4)).min(bytes.len());
            bytes.splice(at..cut, scrap.iter().copied());
        }
        fuzz(&bytes);
    }
}

#[test]
fn hostile_texts_end_in_bounded_work() {
    let big = "format(\"%1000s\", \"a\")";
    let mega = format!("replace(replace({big}, \" \", {big}), \"a\", \"{}\")", "b".repeat(7));
    let texts = [
        // Work that a result does not show.
        format!("locals {{\n  t = {mega}\n}}\nv = trim(local.t, \"${{local.t}}x\")\n"),
        format!("locals {{\n  t = {mega}\n}}\nv = [for i in range(1000) : strlen(local.t)]\n"),
        format!("locals {{\n  t = {mega}\n}}\nv = formatlist(\"%.0s%.0s\", range(1000), local.t)\n"),
        format!("v = format(\"{}\", 1 / 3)\n", "%[1]e".repeat(10_000)),
        format!("locals {{\n  t = {mega}\n}}\nv = format(\"{}\", local.t)\n", "%[1].0s".repeat(10_000)),
        format!("v = regex_replace(\"{}\", \"(a*)*b|\", \"x\")\n", "a".repeat(30_000)),
        format!("v = [for i in range(1000) : regex_replace(\"{}\", \"(a{{1,90}}){{1,90}}b\", \"x\")]\n", "a".repeat(5_000)),
        "v = [for i in range(1000) : [for j in range(1000) : \"${1e2400 / 3}\"]]\n".to_string(),
        "v = [for i in range(1000) : bcrypt(\"a\", 10)]\n".to_string(),
        format!("v = parseint(\"{}\", 10)\n", "9".repeat(500_000)),
        format!("v = setproduct([for i in range(300) : {mega}], range(300))\n"),
        format!("v = csvdecode(\"{}\")\n", (0..20_000).map(|i| format!("c{i},")).collect::<String>()),
        "v = split(\"\", jsonencode([for i in range(1000) : [for j in range(900) : i]]))\n".to_string(),
        // Types that fit nowhere, nested.
        format!("v = true ? {}1{} : {}true{}\n", "[".repeat(50), "]".repeat(50), "[".repeat(50), "]".repeat(50)),
        format!("v = true ? {}1{} : {}true{}\n", "[1,".repeat(50), "]".repeat(50), "[1,".repeat(50), "]".repeat(50)),
        // Many problems and many names.
        format!("v = {{\n{}}}.nosuch\n", (0..30_000).map(|i| format!("n{i} = 1\n")).collect::<String>()),
        (0..20_000).map(|i| format!("a{i} = nosuch()\n")).collect::<String>(),
        format!("locals {{\n{}}}\n", (0..20_000).map(|i| format!("a{i} = nosuch()\n")).collect::<String>()),
        format!("a = [{}]\n", "nosuch(),".repeat(40_000)),
        (0..3000)
            .map(|i| {
                format!(
                    "variable \"a{i}\" {{\n  default = 1\n  validation {{\n    condition = length([for i in range(1000) : var.a{i}]) > 0\n    error_message = \"x\"\n  }}\n}}\n"
                )
            })
            .collect(),
        "a = 1\n".repeat(100_000),
    ];
    for text in texts {
        let source = Source::new("t.hcl", &text);
        let inputs = crate::Inputs { seed: Some([1; 32]), ..crate::Inputs::default() };
        if let Err(problems) = crate::parse_job_file(&source, &inputs) {
            assert!(problems.len() <= 50, "{} problems", problems.len());
            let shown: usize = problems.iter().map(|problem| problem.human(&source).len()).sum();
            assert!(shown < 20_000_000, "{shown} bytes of problems");
        }
        println!("{}", text.chars().take(90).collect::<String>());
    }
}
