use super::*;
use crate::{Scope, Source, parse};

/// The value of an expression as JSON, or the problem.
fn value(expression: &str) -> String {
    let source = Source::new("t.hcl", format!("v = jsonencode({expression})\n"));
    match parse(&source, &Scope::job()) {
        Ok(body) => body.attribute("v").unwrap().value.as_str().unwrap().to_string(),
        Err(problems) => problems.iter().map(|problem| problem.detail.as_str()).collect::<Vec<_>>().join("|"),
    }
}

fn check(expression: &str, expected: &str) {
    assert_eq!(value(expression), expected, "{expression}");
}

#[test]
fn names_are_unique() {
    let mut all: Vec<&str> = Functions::all().names().collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(count > 75, "{count} functions");
}

#[test]
fn arguments_are_counted_and_converted() {
    check("upper(\"a\", \"b\")", "Function \"upper\" expects only 1 argument(s).");
    check("replace(\"a\")", "Function \"replace\" expects 3 argument(s). Missing value for \"substr\".");
    check("join()", "Function \"join\" expects at least 1 argument(s). Missing value for \"separator\".");
    check("upper(null)", "Invalid value for \"str\" parameter: argument must not be null.");
    check("upper([])", "Invalid value for \"str\" parameter: string required, but have tuple.");
    check("upper(1.50)", "\"1.5\"");
    check("max([1, \"7\"]...)", "7");
    check("max(null...)", "The expanding argument (indicated by ...) must not be null.");
    check("max(1...)", "The expanding argument (indicated by ...) must be of a tuple, list, or set type.");
}

#[test]
fn text() {
    check("title(\"it's éa\")", "\"It'S Éa\"");
    check(
        "join(\",\", [\"a\", null])",
        "Invalid value for \"lists\" parameter: element 1 is null; cannot concatenate null values.",
    );
    check("substr(\"hello\", -99, 2)", "\"he\"");
    check("regex_replace(\"a\", \"(\", \"\") == \"\"", &value("regex_replace(\"a\", \"(\", \"\")"));
    check("indent(-1, \"a\")", "Invalid value for \"spaces\" parameter: the number of spaces must not be negative.");
    check("reverse([\"a\"])", "Invalid value for \"str\" parameter: string required, but have tuple.");
    check("split(\",\", \"a,b\")", "[\"a\",\"b\"]");
}

#[test]
fn format_verbs() {
    check("format(\"%e %g %g %E\", 1234567, 1234567, 0.5, 0.001)", "\"1.234567e+06 1.234567e+06 0.5 1.000000E-03\"");
    check("format(\"%x %X %#x %o %b\", 255, 255, 255, 8, 5)", "\"ff FF 0xff 10 101\"");
    check("format(\"%05d|%-5d|%+.1f|%6.2f\", -42, 7, 2.25, 3.14159)", "\"-0042|7    |+2.2|  3.14\"");
    check("format(\"%d%%\", 50)", "\"50%\"");
    check(
        "format(\"%d\", 1.5)",
        "Call to function \"format\" failed: unsupported value for \"%d\" at 0: an integer is required.",
    );
    check(
        "format(\"%s\", [])",
        "Call to function \"format\" failed: unsupported value for \"%s\" at 0: string required, but have tuple.",
    );
    check("format(\"%z\", 1)", "Call to function \"format\" failed: unsupported format verb 'z' at offset 0.");
    check(
        "format(\"a %s\")",
        "Call to function \"format\" failed: not enough arguments for \"%s\" at 2: need index 1 but have 0 total.",
    );
    check("format(\"a\", 1)", "Call to function \"format\" failed: too many arguments; no verbs in format string.");
    check(
        "format(\"%\", 1)",
        "Call to function \"format\" failed: unexpected end of format string in the verb at offset 0.",
    );
    check(
        "formatlist(\"%s%s\", [\"a\"], [\"b\", \"c\"])",
        "Invalid value for \"args\" parameter: argument 2 has length 2, which is inconsistent with argument 1 of length 1.",
    );
}

#[test]
fn collections() {
    check("length({ a = 1 })", "Call to function \"length\" failed: collection must be a list, a map or a tuple.");
    check("length(convert({ a = 1 }, map(number)))", "1");
    check("concat()", "Call to function \"concat\" failed: at least one argument is required.");
    check("concat([], 1)", "Invalid value for \"seqs\" parameter: all arguments must be lists or tuples; got number.");
    check("coalesce(null, null)", "Call to function \"coalesce\" failed: no non-null arguments.");
    check("coalescelist([], [])", "Call to function \"coalescelist\" failed: no non-null arguments.");
    check("element([], 0)", "Call to function \"element\" failed: cannot use element function with an empty list.");
    check("element([1, 2, 3], -1)", "3");
    check("keys([1])", "Invalid value for \"inputMap\" parameter: a map or object is required, but have tuple.");
    check("merge([1])", "Invalid value for \"maps\" parameter: arguments must be maps or objects, got \"tuple\".");
    check("range(1, 2, 0)", "Call to function \"range\" failed: step must not be zero.");
    check("range(0)", "[]");
    check(
        "slice([1], 0, 2)",
        "Invalid value for \"end_index\" parameter: end index must not be greater than the length of the list.",
    );
    check("setproduct([1])", "Call to function \"setproduct\" failed: at least two arguments are required.");
    check(
        "zipmap([\"a\"], [])",
        "Call to function \"zipmap\" failed: number of keys (1) does not match number of values (0).",
    );
    check("index([1, 2], 5)", "Call to function \"index\" failed: invalid index.");
    check("lookup({ a = 1 }, \"b\")", "Function \"lookup\" expects 3 argument(s). Missing value for \"default\".");
}

#[test]
fn numbers_and_encodings() {
    check("parseint(\"8\", 8)", "Invalid value for \"number\" parameter: cannot parse \"8\" as a base 8 integer.");
    check("signum(1.5)", "Invalid value for \"num\" parameter: value must be a whole number.");
    check("log(-1, 10)", "Call to function \"log\" failed: the result is not a number.");
    check("1 / 0", "Call to function \"jsonencode\" failed: cannot serialize infinity as JSON.");
    check("base64decode(\"%\")", "Call to function \"base64decode\" failed: failed to decode base64 data.");
    check("jsondecode(\"\")", "Call to function \"jsondecode\" failed: EOF.");
    check("csvdecode(\"a,b\\n\\\"x \\\"\\\"y\\\"\\\"\\\",2\\n\")", "[{\"a\":\"x \\\"y\\\"\",\"b\":\"2\"}]");
    check(
        "csvdecode(\"a,b\\n1\\n\")",
        "Call to function \"csvdecode\" failed: record on line 2: wrong number of fields.",
    );
    check("csvdecode(\"\")", "Call to function \"csvdecode\" failed: missing header line.");
    check(
        "yamlencode({ a = [{ b = 1, c = [2] }, \"x\"], d = { e = null } })",
        "\"\\\"a\\\":\\n- \\\"b\\\": 1\\n  \\\"c\\\":\\n  - 2\\n- \\\"x\\\"\\n\\\"d\\\":\\n  \\\"e\\\": null\\n\"",
    );
}

#[test]
fn hashes_dates_and_addresses() {
    check("md5(\"\")", "\"d41d8cd98f00b204e9800998ecf8427e\"");
    check(
        "md5(\"12345678901234567890123456789012345678901234567890123456789012345678901234567890\")",
        "\"57edf4a22be3c955ac49da2e2107b67a\"",
    );
    check("timeadd(\"2024-02-28T23:59:59.5Z\", \"1.5s\")", "\"2024-02-29T00:00:01Z\"");
    check(
        "timeadd(\"2024-02-30T00:00:00Z\", \"1s\")",
        "Invalid value for \"timestamp\" parameter: not a valid RFC3339 timestamp: cannot use \"2024-02-30T00:00:00Z\".",
    );
    check(
        "timeadd(\"2024-01-01T00:00:00Z\", \"1d\")",
        "Invalid value for \"duration\" parameter: invalid duration \"1d\".",
    );
    check(
        "formatdate(\"J\", \"2024-01-01T00:00:00Z\")",
        "Invalid value for \"format\" parameter: invalid date format verb \"J\".",
    );
    check("formatdate(\"EEE\", \"1969-12-31T00:00:00Z\")", "\"Wed\"");
    check(
        "cidrhost(\"10.0.0.0/30\", 4)",
        "Call to function \"cidrhost\" failed: prefix of 30 does not accommodate a host numbered 4.",
    );
    check("cidrhost(\"::/0\", 1)", "\"::1\"");
    check("cidrhost(\"::/0\", -1)", "\"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\"");
    check(
        "cidrsubnet(\"10.0.0.0/8\", 8, 256)",
        "Call to function \"cidrsubnet\" failed: prefix extension of 8 does not accommodate a subnet numbered 256.",
    );
    check("cidrsubnet(\"0.0.0.0/0\", 0, 0)", "\"0.0.0.0/0\"");
    check("cidrsubnets(\"10.0.0.0/24\", 1, 1)", "[\"10.0.0.0/25\",\"10.0.0.128/25\"]");
    check(
        "cidrsubnets(\"255.255.255.0/24\", 1, 1, 1)",
        "Call to function \"cidrsubnets\" failed: not enough remaining address space for a subnet with a prefix of 25 bits.",
    );
    check(
        "cidrnetmask(\"x\")",
        "Call to function \"cidrnetmask\" failed: invalid CIDR expression: invalid CIDR address: x.",
    );
    check("file(\"x\")", "Call to function \"file\" failed: filesystem function disabled.");
    check(
        "uuidv5(\"bad\", \"x\")",
        "Call to function \"uuidv5\" failed: uuidv5() doesn't support namespace bad (invalid UUID length: 3).",
    );
}
