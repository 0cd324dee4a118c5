//! A server that holds very many allocs is killed and started again: from the start of the process to the first read and the
//! first write. Only drover: the state comes as a snapshot in its form.

use anyhow::bail;

use crate::crowd::{self, CrowdFile};
use crate::figure::Figure;
use crate::loaded::{Loaded, sizes};
use crate::product::Product;
use crate::usage::pss_bytes;

/// How many allocs; another number by `DROVER_ALLOCS`.
const SIZES: [usize; 2] = [100_000, 1_000_000];
const TURNS_MAX: usize = 3;
const MIB: f64 = 1024.0 * 1024.0;

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for size in sizes(&SIZES)? {
        let crowd = CrowdFile::of(size)?;
        let (snapshot, count) = (crowd.open()?, crowd.count);
        for product in products.iter().filter(|product| product.is_drover()) {
            let mut server = Loaded::start(product);
            server.restore(&snapshot)?;
            server.wait_until_settled(snapshot.metadata()?.len())?;
            let (mut reads, mut writes, mut memory) = (Vec::new(), Vec::new(), Vec::new());
            for number in 0..runs.min(TURNS_MAX) {
                let restart = server.restart(crowd::SOME_JOB, number)?;
                reads.push(restart.read.as_secs_f64() * 1e3);
                writes.push(restart.write.as_secs_f64() * 1e3);
                memory.push(pss_bytes(&server, &[])? / MIB);
            }
            let name = |what: &str| format!("b9-restart {count} allocs, {what}");
            figures.push(Figure::of(name("start->first read"), &product.name, "ms", reads));
            figures.push(Figure::of(name("start->first write"), &product.name, "ms", writes));
            figures.push(Figure::of(name("PSS then"), &product.name, "MiB", memory));
        }
    }
    if figures.is_empty() { bail!("only drover reads the snapshot that this makes") } else { Ok(figures) }
}
