//! Tables: what an expression says of a node, and the messages for wrong ones.

use serde_json::{Value, json};

use crate::Filter;

fn node() -> Value {
    json!({
        "Attributes": {"kernel.name": "linux", "cpu.arch": "amd64"},
        "Drivers": {"raw_exec": {"Attributes": {"driver.raw_exec": "1"}, "Detected": true, "Healthy": true}},
        "DrainStrategy": null,
        "Events": [
            {"CreateIndex": 8, "Message": "Node registered", "Subsystem": "Cluster"},
            {"CreateIndex": 9, "Message": "Node drain complete", "Subsystem": "Drain"},
        ],
        "ID": "f7476465-4d6e-c0de-26d0-e383c49be941",
        "LastDrain": null,
        "Links": null,
        "Meta": {"team": "ops"},
        "ModifyIndex": 12,
        "Name": "a.b",
        "NodeResources": {"Cpu": {"CpuShares": 4000, "Ratio": 0.5}},
        "Status": "ready",
        "StatusUpdatedAt": 1_700_000_000,
        "TLSEnabled": false,
        "Tags": ["web", "blue"],
        "Numbers": [1, 2],
    })
}

#[test]
fn what_holds() {
    let node = node();
    let check = |text: &str, expected: bool| {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&node), Ok(expected), "{text}");
    };
    check("Status == ready", true);
    check("Status == \"ready\"", true);
    check("Status==`ready`", true);
    check("Status != ready", false);
    check("Status != \"\"", true);
    check(" ( Status == ready ) ", true);
    check("Status == ready and Name == a.b", true);
    check("Status == ready and Name == x", false);
    check("Status == down or Name == a.b", true);
    check("Status == down or Name == x and ID != y", false);
    check("(Status == down or Name == a.b) and ID != y", true);
    check("not Status == ready", false);
    check("not not Status == ready", true);
    check("not (Status == down)", true);
    // What follows a true part of "or" is not looked at.
    check("Status == ready or Nope == 3", true);
    check("Status == down and Nope == 3", false);
    check("ModifyIndex == 12", true);
    check("ModifyIndex == \"0xc\"", true);
    check("ModifyIndex != 13", true);
    check("StatusUpdatedAt == \"-3\"", false);
    check("NodeResources.Cpu.Ratio == 0.5", true);
    check("TLSEnabled == false", true);
    check("TLSEnabled == 0", true);
    check("Attributes[\"kernel.name\"] == linux", true);
    check("Attributes[ `kernel.name` ] == linux", true);
    check("\"/Attributes/kernel.name\" == linux", true);
    check("Attributes.kernel == linux", false);
    check("Attributes.kernel != linux", true);
    check("Attributes.kernel is empty", true);
    check("Attributes.kernel is not empty", false);
    check("Attributes.kernel matches `.*`", false);
    check("Attributes.kernel not matches `.*`", true);
    check("x in Attributes.kernel", false);
    check("x not in Attributes.kernel", true);
    check("\"kernel.name\" in Attributes", true);
    check("linux in Attributes", false);
    check("Attributes contains \"kernel.name\"", true);
    check("Attributes not contains \"kernel.name\"", false);
    check("Status == ready or Meta.x.y is empty", true);
    check("web in Tags", true);
    check("red not in Tags", true);
    check("Tags contains blue", true);
    check("2 in Numbers", true);
    check("ead in Status", true);
    check("Links is empty", true);
    check("Tags is not empty", true);
    check("Status is empty", false);
    check("DrainStrategy is nil", true);
    check("NodeResources is not nil", true);
    check("Status matches `^re.*y$`", true);
    check("Status matches \"^re\\\\w+$\"", true);
    check("Status not matches \"^re\"", false);
    check("Drivers.raw_exec.Healthy == true", true);
    check("Events.1.Subsystem == Drain", true);
    check("any Attributes as k { k == \"kernel.name\" }", true);
    check("any Attributes as k, v { v == linux and k != linux }", true);
    check("all Attributes as _, v { v == linux }", false);
    check("any Events as e { e.Subsystem == Cluster }", true);
    check("all Events as i, e { e.Subsystem == Cluster or i == 1 }", true);
    check("all Events as i, _ { i != 3 }", true);
    check("any Links as k { k == x }", false);
    check("all Links as k { k == x }", true);
    check("any Meta.x as k { k == x }", false);
    check(
        "any Drivers as k, v { v.Healthy == true and (any v.Attributes as a, _ { a == \"driver.raw_exec\" }) }",
        true,
    );
    check("Status == down or any Tags as t { t == web }", true);
    check("(any Tags as t { t == web }) and Status == ready", true);
}

#[test]
fn what_can_not_be_asked() {
    let node = node();
    let check = |text: &str, expected: &str| {
        let filter = Filter::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(filter.matches(&node).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    };
    let datum = |text: &str| format!("error finding value in datum: {text}");
    check("Nope == 3", &datum("/Nope at part 0: couldn't find key: struct field with name \"Nope\""));
    check(
        "NodeResources.Cpu.Nope == 3",
        &datum("/NodeResources/Cpu/Nope at part 2: couldn't find key: struct field with name \"Nope\""),
    );
    check("Status.x == 3", &datum("/Status/x: at part 1, invalid value kind: string"));
    check("LastDrain.Status == 3", &datum("/LastDrain/Status: at part 1, invalid value kind: invalid"));
    check("Events.9.Subsystem == x", &datum("/Events/9/Subsystem at part 1: index 9 is out of range (length = 2)"));
    check("Events.x.Subsystem == x", &datum("/Events/x/Subsystem at part 1: couldn't convert value \"x\" to type int"));
    check("Meta.x.y == 3", &datum("/Meta/x/y at part 1: couldn't find key \"x\""));
    check("Drivers.zz.Healthy == true", &datum("/Drivers/zz/Healthy at part 1: couldn't find key \"zz\""));
    check("\"\" == 3", &datum("/ at part 0: couldn't find key: struct field with name \"\""));
    check("any Nope as x { x == y }", &datum("/Nope at part 0: couldn't find key: struct field with name \"Nope\""));
    let value = |text: &str| format!("error getting match value in expression: {text}");
    check("ModifyIndex == zz", &value("strconv.ParseUint: parsing \"zz\": invalid syntax"));
    check("StatusUpdatedAt == 1.5", &value("strconv.ParseInt: parsing \"1.5\": invalid syntax"));
    check(
        "StatusUpdatedAt == 99999999999999999999",
        &value("strconv.ParseInt: parsing \"99999999999999999999\": value out of range"),
    );
    check("TLSEnabled == zz", &value("strconv.ParseBool: parsing \"zz\": invalid syntax"));
    check("a in TLSEnabled", &value("strconv.ParseBool: parsing \"a\": invalid syntax"));
    for text in ["NodeResources == 3", "Attributes == 3", "Events == 3", "DrainStrategy == 3"] {
        check(text, "unable to find suitable primitive comparison function for matching");
    }
    check("Cluster in Events", "unable to find suitable primitive comparison function for \"in\" comparison");
    check("a in NodeResources", "cannot perform in/contains operations on type struct for selector: \"NodeResources\"");
    check(
        "a in DrainStrategy",
        "cannot perform in/contains operations on type invalid for selector: \"DrainStrategy\"",
    );
    check("ModifyIndex is empty", "cannot perform is-empty operations on type uint64 for selector: \"ModifyIndex\"");
    check(
        "DrainStrategy is empty",
        "cannot perform is-empty operations on type invalid for selector: \"DrainStrategy\"",
    );
    check("StatusUpdatedAt is nil", "cannot perform is-nil operations on type int64 for selector: \"StatusUpdatedAt\"");
    check("Status is not nil", "cannot perform is-nil operations on type string for selector: \"Status\"");
    check("ModifyIndex matches \"1\"", "value of type uint64 is not convertible to []byte");
    check("any ID as x { x == y }", "ID is not a list or a map");
    check("any Attributes as k { k.x == y }", "/k references a string so /k/x is invalid");
    check("any Meta as k, k { k == x }", "\"k\" cannot be used as a placeholder for both the index and the value");
    let unclosed = Filter::parse("ID matches \"[\"").unwrap().matches(&node).unwrap_err().to_string();
    assert!(unclosed.starts_with("failed to compile regular expression \"[\": error parsing regexp: "), "{unclosed}");
}

#[test]
fn wrong_expressions() {
    let check = |text: &str, expected: &str| {
        assert_eq!(
            Filter::parse(text).map(drop).map_err(|error| error.to_string()),
            Err(expected.to_owned()),
            "{text}"
        );
    };
    check("Sta", "1:4 (3): no match found, expected: \"!=\", \".\", \"==\", \"[\", [ \\t\\r\\n] or [a-zA-Z0-9_/]");
    check("a ==", "1:5 (4): no match found, expected: \"-\", \"0\", \"\\\"\", \"`\", [ \\t\\r\\n], [1-9] or [a-zA-Z]");
    check("(a == b", "1:8 (7): rule \"grouping\": Unmatched parentheses");
    check("((a == b)", "1:10 (9): rule \"grouping\": Unmatched parentheses");
    check("a == \"x", "1:8 (7): rule \"string\": Unterminated string literal");
    check("a[x] == 3", "1:3 (2): rule \"index\": Invalid index");
    check("a[\"x\" == 3", "1:7 (6): rule \"index\": Unclosed index expression");
    check("a == 3x", "1:7 (6): rule \"number\": Invalid number literal");
    check("a == 0x10", "1:7 (6): rule \"number\": Invalid number literal");
    check("a == -", "1:7 (6): no match found, expected: \"0\" or [1-9]");
    check("a is emp", "1:6 (5): no match found, expected: \"empty\", \"nil\", \"not\" or [ \\t\\r\\n]");
    check("not", "1:4 (3): no match found, expected: \"!=\", \".\", \"==\", \"[\", [ \\t\\r\\n] or [a-zA-Z0-9_/]");
    check("a == b and", "1:11 (10): no match found, expected: [ \\t\\r\\n]");
    check("a == b or any X as y { y == 3", "1:30 (29): no match found, expected: \".\", \"}\", [ \\t\\r\\n] or [0-9]");
    check("x in", "1:5 (4): no match found, expected: [ \\t\\r\\n]");
    check("\"a\" in 3", "1:8 (7): rule \"match\": Invalid selector");
    check("Name in \"abc\"", "1:9 (8): rule \"match\": Invalid selector");
    check("a == \"b\\q\"", "1:6 (5): rule \"string\": invalid syntax");
    check(
        " ",
        "1:2 (1): no match found, expected: \"(\", \"-\", \"0\", \"\\\"\", \"`\", \"all\", \"any\", \"not\", [ \\t\\r\\n], [1-9] or [a-zA-Z]",
    );
    check("a.b. == 3", "1:5 (4): no match found, expected: [0-9] or [a-zA-Z]");
    check("a == b c", "1:8 (7): no match found, expected: \"and\", \"or\", [ \\t\\r\\n] or EOF");
    check(
        "a > 3",
        "1:3 (2): no match found, expected: \"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\", \"not\" or [ \\t\\r\\n]",
    );
}

#[test]
fn what_is_looked_at() {
    let names = |text: &str, field: &str| Filter::parse(text).unwrap().names(field);
    assert!(names("a == b and not (any Job.TaskGroups as g { g.Name == x })", "Job"));
    assert!(names("any X as x { Job.ID == 3 or x == 3 }", "Job"));
    assert!(!names("Name == Job", "Job"));
}

#[test]
fn bounds() {
    let refused = |text: String, part: &str| {
        let error = Filter::parse(&text).map(drop).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused("a".repeat(100_000), "longer than");
    refused("(".repeat(5_000), "nested more than");
    refused(format!("{}a == b{}", "(".repeat(150), ")".repeat(150)), "nested more than");
    refused("a matches \"x\" or ".repeat(100) + "a == b", "regular expressions");
    // Nested wrong parentheses are not read again and again.
    refused(format!("{}a == b", "(".repeat(90)), "Unmatched parentheses");
    let long = "Status == x or ".repeat(4_000) + "Status == ready";
    assert_eq!(Filter::parse(&long).unwrap().matches(&node()), Ok(true));
    let huge = Filter::parse("Status matches \"(x{1000}){1000}\"").unwrap();
    assert!(huge.matches(&node()).is_err());
    let many = json!({"A": vec![0; 2000]});
    let squared = Filter::parse("any A as a { any A as b { a == 1 and b == 1 } }").unwrap();
    assert_eq!(squared.matches(&many).unwrap_err().to_string(), "the expression looks at more than 1000000 values");
}

#[test]
fn any_text_is_read_or_refused() {
    let pieces = [
        "a", " ", "==", "not", "in", "(", ")", "any ", "{", "}", "[", "\"", "`", "/", ".", "3", "-", "\n", "\u{e9}",
        "as ", "is empty", "\\u00",
    ];
    let node = node();
    for first in pieces {
        for second in pieces {
            for third in pieces {
                for text in [format!("{first}{second}{third}"), format!("a {first}{second}{third} == \"{first}\"")] {
                    if let Ok(filter) = Filter::parse(&text) {
                        let _answer = filter.matches(&node);
                    }
                }
            }
        }
    }
}
