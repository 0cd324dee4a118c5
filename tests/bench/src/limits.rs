//! The limit probe: what the machine itself takes at this moment.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use crate::figure::Figure;

const SYNCS: usize = 200;
const SPAWNS: usize = 50;

/// fdatasync of a 512 byte append, and a process from spawn to reaped.
pub fn probe(when: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(samples) = fdatasync() {
        figures.push(Figure::of(format!("fdatasync 512 B ({when})"), "limit", "ms", samples));
    }
    if let Some(samples) = spawn() {
        figures.push(Figure::of(format!("spawn and reap ({when})"), "limit", "ms", samples));
    }
    figures
}

fn fdatasync() -> Option<Vec<f64>> {
    let dir = tempfile::tempdir().ok()?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.path().join("probe")).ok()?;
    let block = [7; 512];
    (0..SYNCS)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&block).ok()?;
            file.sync_data().ok()?;
            Some(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}

fn spawn() -> Option<Vec<f64>> {
    (0..SPAWNS)
        .map(|_| {
            let start = Instant::now();
            Command::new("/bin/true").status().ok()?;
            Some(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}
