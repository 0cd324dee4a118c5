//! Files of variables, beside a job file that declares some.

use drover_hcl::{Inputs, Limits, Source, parse_job_file};

use super::{Target, hcl};
use crate::corpus;

pub const TARGET: Target = Target {
    word: "variables",
    what: "a file of variables for a job file, and the same text as the value of a flag",
    corpus: || {
        Ok(corpus::texts(&[
            "text = \"a\"\nnumber = 5\nlist = [\"a\", \"b\"]\n",
            "map = { a = 1, b = 2 }\nobject = { name = \"x\", ports = [80, 443] }\nset = [\"a\", \"a\"]\n",
            "{\"text\": \"a\", \"list\": [\"x\", 5, true, null], \"object\": {\"name\": \"n\", \"ports\": [1]}}",
            "tuple = [1, \"a\", true]\nany = <<EOT\n  x\nEOT\n",
            "[\"a\", \"b\"]",
            "{ name = \"x\", ports = [] }",
        ]))
    },
    words: hcl::WORDS,
    run,
};

const JOB: &str = r#"
variable "text" { type = string }
variable "number" {
  type    = number
  default = 1
  validation {
    condition     = var.number > 0 && can(format("%d", var.number))
    error_message = "A number above zero."
  }
}
variable "list" { type = list(string) }
variable "set" {
  type    = set(string)
  default = []
}
variable "map" {
  type    = map(number)
  default = {}
}
variable "tuple" {
  type    = tuple([number, string, bool])
  default = [1, "", false]
}
variable "object" {
  type    = object({ name = string, ports = list(number) })
  default = { name = "", ports = [] }
}
variable "any" { default = "x" }
locals { all = jsonencode(var) }
job "x" { meta = { all = local.all } }
"#;

fn run(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let job = Source::new("job.hcl", JOB);
    let inputs = |files: Vec<Source>, flags: &[&str]| Inputs {
        var_files: files,
        var_flags: flags.iter().map(|name| ((*name).to_owned(), text.clone().into_owned())).collect(),
        is_strict: false,
        limits: Limits::default(),
        ..Inputs::default()
    };
    let by_file = inputs(vec![Source::new("v.hcl", &text)], &["text"]);
    let by_flag = inputs(Vec::new(), &["text", "number", "list", "set", "map", "tuple", "object", "any"]);
    let mut is_taken = false;
    for inputs in [by_file, by_flag] {
        match parse_job_file(&job, &inputs) {
            Ok(_) => is_taken = true,
            Err(problems) => hcl::show(&problems, &job),
        }
    }
    is_taken
}
