//! The layout of HCL: what it lays out stays HCL of the same values, and is laid out already.

use drover_hcl::{Body, Scope, Source, format, parse};

use super::{Target, hcl};
use crate::corpus;

pub const TARGET: Target = Target {
    word: "hcl-format",
    what: "a text laid out anew: still the same values, and nothing left to lay out",
    corpus: || corpus::files(".nomad.hcl"),
    words: hcl::WORDS,
    run,
};

fn run(bytes: &[u8]) -> bool {
    let source = Source::new("fuzz.hcl", String::from_utf8_lossy(bytes));
    let text = match format(&source) {
        Ok(text) => text,
        Err(problems) => {
            hcl::show(&problems, &source);
            return false;
        }
    };
    let laid_out = Source::new("fuzz.hcl", &text);
    match format(&laid_out) {
        Ok(again) => assert_eq!(again, text, "a second layout changes nothing"),
        Err(problems) => panic!("what was laid out is refused: {}", problems[0].one_line(&laid_out)),
    }
    // A name that stays for run time is kept as it was written, blanks and all: only settled values can be compared.
    if let (Ok(before), Ok(after)) = (parse(&source, &Scope::settings()), parse(&laid_out, &Scope::settings())) {
        assert_eq!(values(&before), values(&after), "the layout changes no value");
    }
    true
}

/// Names and values of a body, without their places.
fn values(body: &Body) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for attribute in &body.attributes {
        out.push(format!("{} = {:?}", attribute.name, attribute.value));
    }
    for block in &body.blocks {
        let labels: Vec<&str> = block.labels.iter().map(|label| label.text.as_str()).collect();
        out.push(format!("{} {labels:?}", block.kind));
        out.extend(values(&block.body));
    }
    out
}
