//! Job files: read, evaluated, decoded, filled in and checked.

use drover_jobspec::{Inputs, Problem, Source, Surroundings, canonicalize, parse_hcl};

use super::Target;
use crate::corpus;

pub const TARGET: Target = Target {
    word: "hcl-job",
    what: "a job file: parse, evaluate, decode, canonicalize, check",
    corpus: || {
        let mut all = corpus::files(".nomad.hcl")?;
        all.extend(corpus::files(".nomad.json")?);
        Ok(all)
    },
    words: WORDS,
    run,
};

/// Words of the language and of job files.
pub const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "${",
    "%{",
    "$${",
    "~}",
    "<<EOF\n",
    "<<-E\n",
    "\nEOF\n",
    "\\",
    "\\u00e9",
    "é",
    "\u{0}",
    "\u{feff}",
    "\r\n",
    "\n",
    "=",
    "==",
    "=>",
    "...",
    ".*",
    "[*]",
    ".0",
    "?",
    ":",
    "&&",
    "||",
    "!",
    "-",
    "%",
    "/*",
    "*/",
    "#",
    "//",
    ",",
    "null",
    "true",
    "1e999",
    "0.1",
    "-9223372036854775808",
    "\"5s\"",
    "\"-1h\"",
    "for x in y : ",
    "for k, v in ",
    " if ",
    "%{ for a in [1, 2] }",
    "%{ endfor }",
    "%{ if true }",
    "%{ else }",
    "%{ endif }",
    "dynamic \"task\" { for_each = [1] content {} }",
    "for_each = ",
    "iterator = x",
    "labels = [\"a\"]",
    "content {\n",
    "variable \"v\" {\n type = list(string)\n default = []\n}\n",
    "variables {\n a = 1\n}\n",
    "validation {\n",
    "var.v",
    "locals {\n l = [1, 2]\n}\n",
    "local.l",
    "local",
    "attr.x",
    "range(1000)",
    "range(1024)",
    "setproduct(",
    "format(\"%5d\", ",
    "formatlist(\"%s\", ",
    "jsonencode(",
    "jsondecode(",
    "yamldecode(\"",
    "yamlencode(",
    "csvdecode(\"",
    "regex_replace(",
    "replace(",
    "try(",
    "can(",
    "convert(",
    "list(number)",
    "object({ a = string })",
    "flatten(",
    "merge(",
    "concat(",
    "substr(\"abc\", ",
    "indent(9, ",
    "parseint(\"zz\", ",
    "pow(2, ",
    "cidrsubnets(\"10.0.0.0/8\", ",
    "timeadd(",
    "formatdate(",
    "job \"x\" {\n",
    "group \"g\" {\n",
    "task \"t\" {\n",
    "driver = \"raw_exec\"\n",
    "config {\n",
    "resources {\n",
    "service {\n",
    "check {\n",
    "network {\n",
    "port \"p\" {}\n",
    "template {\n",
    "meta = {",
    "env {\n",
    "constraint {\n",
    "update {\n",
    "periodic {\n",
    "crons = [\"@daily\"]\n",
    "parameterized {\n",
    "volume \"v\" {\n",
    "count = ",
    "type = ",
    "connect {\n",
];

fn run(bytes: &[u8]) -> bool {
    let source = Source::new("fuzz.nomad.hcl", String::from_utf8_lossy(bytes));
    let inputs = Inputs { seed: Some([7; 32]), ..Inputs::default() };
    match parse_hcl(&source, &inputs) {
        Ok(job) => canonicalize(job, &Surroundings::of("global")).is_ok(),
        Err(problems) => {
            show(&problems, &source);
            false
        }
    }
}

/// Shows problems as the programs do.
pub fn show(problems: &[Problem], source: &Source) {
    assert!(!problems.is_empty(), "what is refused has a reason");
    for problem in problems {
        assert!(!problem.one_line(source).is_empty() && !problem.human(source).is_empty(), "a problem has a text");
    }
}
