//! The limit probe: what the machine itself takes at this moment.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Instant;

use crate::figure::Figure;

const SYNCS: usize = 200;
const TRIPS: usize = 200;
const SPAWNS: usize = 50;

/// fdatasync of a 512 byte append, a round trip over loopback, and a process from spawn to reaped.
pub fn probe(when: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(samples) = fdatasync() {
        figures.push(Figure::of(format!("fdatasync 512 B ({when})"), "limit", "ms", samples));
    }
    if let Some(samples) = round_trip() {
        figures.push(Figure::of(format!("round trip of 512 B ({when})"), "limit", "ms", samples));
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

fn round_trip() -> Option<Vec<f64>> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let mut near = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let (mut far, _) = listener.accept().ok()?;
    near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).ok()?;
    // It ends when the near side goes.
    std::thread::spawn(move || {
        let mut block = [0; 512];
        while far.read_exact(&mut block).and_then(|()| far.write_all(&block)).is_ok() {}
    });
    let mut block = [7; 512];
    (0..TRIPS)
        .map(|_| {
            let start = Instant::now();
            near.write_all(&block).and_then(|()| near.read_exact(&mut block)).ok()?;
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
