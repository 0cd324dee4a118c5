use super::*;

fn run(text: &str, flags: &[(&str, &str)]) -> Result<String, String> {
    let source = Source::new("t.hcl", text);
    let var_flags = flags.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    match parse_job_file(&source, &Inputs { var_flags, ..Inputs::default() }) {
        Ok(body) => Ok(body.attribute("v").expect("an attribute v").value.to_json().to_string()),
        Err(problems) => Err(problems.iter().map(|problem| problem.one_line(&source)).collect::<Vec<_>>().join("\n")),
    }
}

#[test]
fn locals_find_each_other_in_any_order() {
    let text = "v = local.c\nlocals {\n  c = \"${local.b}c\"\n  a = \"a\"\n}\nlocals {\n  b = \"${local.a}b\"\n}\n";
    assert_eq!(run(text, &[]), Ok("\"abc\"".to_string()));
    let chain: String = (1..5000).rev().map(|i| format!("  a{i} = local.a{} + 1\n", i - 1)).collect();
    assert_eq!(run(&format!("v = local.a4999\nlocals {{\n{chain}  a0 = 0\n}}\n"), &[]), Ok("4999".to_string()));
    assert_eq!(run("v = local\nlocals {\n  b = [for x in [1] : x]\n}\n", &[]), Ok("{\"b\":[1]}".to_string()));
    let whole = "v = local.all\nlocals {\n  all = jsonencode(local)\n  z = local.a\n  a = 1\n}\n";
    assert_eq!(run(whole, &[]), Ok("\"{\\\"a\\\":1,\\\"z\\\":1}\"".to_string()));
}

#[test]
fn a_circle_of_locals_is_a_problem() {
    let source = Source::new("t.hcl", "locals {\n  a = local.b\n  b = local.a\n}\n");
    let problems = parse_job_file(&source, &Inputs::default()).unwrap_err();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].summary, "Unsupported attribute");
    assert!(problems[0].hint.as_ref().unwrap().contains("circle"), "{problems:?}");
}

#[test]
fn flags_are_read_by_the_type_of_the_variable() {
    let text = |kind: &str| format!("variable \"x\" {{\n  type = {kind}\n}}\nv = var.x\n");
    let check = |kind: &str, flag: &str, expected: &str| {
        assert_eq!(run(&text(kind), &[("x", flag)]), Ok(expected.to_string()), "{kind} {flag}");
    };
    check("string", "\"q\"", "\"\\\"q\\\"\"");
    check("string", "null", "\"null\"");
    check("number", "7", "7");
    check("bool", " true", "true");
    check("list(string)", "[1, 2]", "[\"1\",\"2\"]");
    check("set(string)", "[\"b\", \"a\", \"b\"]", "[\"a\",\"b\"]");
    let refuse = |kind: &str, flag: &str, expected: &str| {
        let problems = run(&text(kind), &[("x", flag)]).unwrap_err();
        assert!(problems.contains(expected), "{kind} {flag}: {problems}");
    };
    refuse("number", "1+1", "a number is required");
    refuse("number", " 5 ", "a number is required");
    refuse("bool", "yes", "Variables not allowed");
    refuse("list(string)", "[upper(\"a\")]", "Function calls not allowed");
    refuse("list(string)", "[1", "Unclosed bracket");
    refuse("map", "{}", "The map type constructor requires one argument");
}

#[test]
fn rules_are_checked_on_the_winning_value() {
    let rule = "  validation {\n    condition = var.x > 1\n    error_message = \"Too small.\"\n  }\n";
    let text = format!("variable \"x\" {{\n  default = 1\n{rule}}}\nv = var.x\n");
    assert_eq!(run(&text, &[("x", "5")]), Ok("5".to_string()));
    assert_eq!(
        run(&text, &[]),
        Err("t.hcl:2,13-14: Invalid value for default variable; Too small.\n\nThis was checked by the validation rule at t.hcl:3,3-13.".to_string())
    );
    let null = text.replace("var.x > 1", "var.x == 1 ? null : true");
    assert!(run(&null, &[]).unwrap_err().contains("not null"));
}

#[test]
fn variable_files_are_hcl_or_json() {
    let source = Source::new("t.hcl", "variables {\n  a = \"d\"\n}\nv = var.a\n");
    let run = |name: &str, text: &str, is_strict: bool| {
        let inputs = Inputs { var_files: vec![Source::new(name, text)], is_strict, ..Inputs::default() };
        parse_job_file(&source, &inputs)
            .map(|body| body.attributes[0].value.to_text().unwrap())
            .map_err(|problems| problems.iter().map(|problem| problem.one_line(&source)).collect::<String>())
    };
    assert_eq!(run("f.hcl", "a = 5\n", true), Ok("5".to_string()));
    assert_eq!(run("f.hcl", "{\"a\": \"${x}\"}", true), Ok("${x}".to_string()));
    assert!(run("f.json", "{\"a\": }", true).unwrap_err().starts_with("f.json:1,7-8: Invalid JSON;"));
    assert!(run("f.hcl", "b = 1\n", true).unwrap_err().contains("Undefined variable"));
    assert_eq!(run("f.hcl", "b = 1\n", false), Ok("d".to_string()));
    assert!(run("f.hcl", "a = [1]\n", true).unwrap_err().starts_with("f.hcl:1,5-8: Invalid value for variable;"));
}
