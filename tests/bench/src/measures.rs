//! The measures, by word.

mod b10;
mod b3;
mod b4;
mod b5;
mod b8;
mod b9;
mod parse;

use crate::figure::Figure;
use crate::product::Product;

/// One measure.
pub struct Measure {
    /// Its word on the command line.
    pub word: &'static str,
    /// What it measures.
    pub what: &'static str,
    /// Measures the products in turns; the number is how often.
    pub run: fn(&[Product], usize) -> anyhow::Result<Vec<Figure>>,
}

/// Every measure.
pub const ALL: &[Measure] = &[
    Measure { word: "b3", what: "durable writes to three servers, serial and from 256 clients", run: b3::run },
    Measure { word: "b4", what: "submit to running, raw_exec and exec, one job at a time", run: b4::run },
    Measure { word: "b5", what: "500 short raw_exec batch tasks of one job, submit to all complete", run: b5::run },
    Measure {
        word: "b8",
        what: "idle memory of server and client, memory per running task, binary size",
        run: b8::run,
    },
    Measure { word: "b9", what: "start of the process to the first accepted write", run: b9::run },
    Measure { word: "b9-three", what: "start of three servers to the first accepted write", run: b9::run_three },
    Measure {
        word: "b10",
        what: "gap in acknowledged writes when the leader of three servers is killed, and at SIGTERM",
        run: b10::run,
    },
    Measure {
        word: "parse",
        what: "job text to a checked job, 200 lines and 250 to 2,000 groups; in this process, without --binary",
        run: parse::run,
    },
];
