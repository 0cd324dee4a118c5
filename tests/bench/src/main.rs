//! `drover-bench`: what drover costs, measured over its HTTP API, beside a limit probe and, if given, a peer.
//!
//! ```text
//! drover-bench list
//! drover-bench parse
//! drover-bench crowd 1000000 crowd.snap    (a large state for `drover operator snapshot restore`)
//! drover-bench b4 b8 --binary target/release/drover --binary /path/to/nomad [--runs 50]
//! ```
//!
//! Every figure is one JSON line on standard output: `{"measure","product","p50","p99","n","unit"}`; a table for people
//! follows on standard error. With two binaries the runs take turns, so that a slow minute of the disk hits both. The
//! limit probe runs before and after: a figure counts as a multiple of it, not alone.

mod cluster;
mod crowd;
mod deeds;
mod figure;
mod fleet;
mod guest;
mod image;
mod limits;
mod loaded;
mod measures;
mod product;
mod tokens;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::product::Product;

struct Arguments {
    measures: Vec<&'static measures::Measure>,
    products: Vec<Product>,
    runs: usize,
}

fn main() -> ExitCode {
    drover_harness::agent::end_agents_on_panic();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ran = match arguments.split_first() {
        Some((first, words)) if first == deeds::WORD => deeds::run(words),
        Some((first, words)) if first == crowd::WORD => crowd::run(words),
        _ => run(&arguments),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drover-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.iter().any(|argument| argument == "list") {
        for measure in measures::ALL {
            println!("{:<8} {}", measure.word, measure.what);
        }
        return Ok(());
    }
    let Arguments { measures, products, runs } = parse(arguments)?;
    let mut figures = Vec::new();
    figures.extend(limits::probe("before"));
    for measure in measures {
        eprintln!("{}: {}", measure.word, measure.what);
        for figure in (measure.run)(&products, runs).with_context(|| measure.word)? {
            println!("{}", figure.to_json());
            figures.push(figure);
        }
    }
    figures.extend(limits::probe("after"));
    figures.iter().filter(|figure| figure.product == "limit").for_each(|figure| println!("{}", figure.to_json()));
    eprint!("{}", figure::table(&figures));
    Ok(())
}

fn parse(arguments: &[String]) -> anyhow::Result<Arguments> {
    let mut parsed = Arguments { measures: Vec::new(), products: Vec::new(), runs: 50 };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--binary" => {
                let path = rest.next().context("--binary takes a path")?;
                parsed.products.push(Product::of(&PathBuf::from(path))?);
            }
            "--runs" => parsed.runs = rest.next().context("--runs takes a number")?.parse().context("--runs")?,
            word => match measures::ALL.iter().find(|measure| measure.word == word) {
                Some(measure) => parsed.measures.push(measure),
                None => bail!("no measure {word}; `drover-bench list` names them"),
            },
        }
    }
    if parsed.measures.is_empty() {
        bail!("which measure? `drover-bench list` names them");
    }
    if parsed.products.is_empty() && parsed.measures.iter().any(|measure| measure.word != "parse") {
        bail!("of which program? give --binary PATH, of a release build");
    }
    if parsed.runs == 0 {
        bail!("--runs must be at least 1");
    }
    Ok(parsed)
}
