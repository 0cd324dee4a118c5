//! Jobs in the API's JSON.

use drover_jobspec::{Surroundings, canonicalize, parse_json};

use super::Target;
use crate::corpus;

pub const TARGET: Target = Target {
    word: "json-job",
    what: "a job in the API's JSON: parse, canonicalize, check",
    corpus: || corpus::files(".json"),
    words: &[
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1e400",
        "9223372036854775807",
        "0.5",
        "\\u0000",
        "\\ud800",
        "\\",
        "\"\"",
        "[]",
        "{}",
        "[null]",
        "\"Job\":",
        "\"ID\":",
        "\"Type\":\"system\",",
        "\"TaskGroups\":",
        "\"Tasks\":",
        "\"Count\":",
        "\"Networks\":",
        "\"Services\":",
        "\"Config\":",
        "\"Meta\":",
        "\"Constraints\":",
        "\"Update\":",
        "\"Periodic\":",
        "\"ParameterizedJob\":",
        "\"Resources\":",
        "\"DynamicPorts\":",
        "\"1s\"",
        "1000000000",
        "\"Operand\":\"regexp\",",
        "\"RTarget\":\"(((\",",
        "é",
        "\u{2028}",
    ],
    run,
};

fn run(bytes: &[u8]) -> bool {
    match parse_json(&String::from_utf8_lossy(bytes)) {
        Ok(job) => canonicalize(job, &Surroundings::of("global")).is_ok(),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "what is refused has a reason");
            false
        }
    }
}
