//! The entry for a fuzzer: any bytes through the whole way from text to job. Nothing may panic or run away.

use drover_hcl::{Inputs, Limits, Source};

/// Takes bytes as a job file and as JSON, and whatever parses on through defaults and checks.
pub fn fuzz_parse(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let source = Source::new("fuzz.nomad.hcl", &text);
    let inputs = Inputs { limits: Limits { source_bytes: 64 * 1024, expansion_units: 20_000 }, ..Inputs::default() };
    match crate::parse_hcl(&source, &inputs) {
        Ok(job) => {
            let _ = crate::canonicalize(job, &crate::Surroundings::of("global"));
        }
        Err(problems) => {
            for problem in problems {
                let _ = problem.one_line(&source);
                let _ = problem.human(&source);
            }
        }
    }
    if let Ok(job) = crate::parse_json(&text) {
        let _ = crate::canonicalize(job, &crate::Surroundings::of("global"));
    }
}

#[cfg(test)]
mod tests;
