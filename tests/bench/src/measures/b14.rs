//! Logs and commands: how fast output is captured, how soon a follower has it, how fast it is read, and how soon a command
//! answers.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use drover_api_client::exec::{ExecOrder, Heard};
use drover_api_client::logs::LogOrder;
use drover_api_client::{Client, QueryOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::deeds::{self, BLOCK_BYTES, PouredCheck, now_ns};
use crate::figure::Figure;
use crate::product::{Product, job, only_alloc, register, stop_and_rest, wait_for_allocs, wait_for_count};
use crate::usage::{cpu_ms, processes_of};

/// Lines whose way is measured, and the pause between two.
const LINES: usize = 1000;
const PAUSE_MS: usize = 5;
/// Lines before those: the follower comes late.
const LINES_AHEAD: usize = 400;
/// What is poured: into files of this size, of which all are kept.
const POURED_BLOCKS: u64 = 4096;
const FILE_MIB: u64 = 32;
const FILES: u64 = 10;
/// Lines there and back.
const ECHOES: usize = 500;
/// The longest wait for anything.
const WAIT_MAX: Duration = Duration::from_secs(120);
const MB: f64 = 1e6;

/// One product after the other: the idle one must not be in the way of the other's logs.
pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for product in products {
        let agent = product.start();
        let client = agent.client();
        let follow = follow(&client).context("follow")?;
        figures.push(Figure::of("b14 write->seen by logs -f", &product.name, "ms", follow));
        let mut poured = Poured::default();
        for number in 0..runs.clamp(1, 5) {
            let ids = processes_of(&agent, &[]);
            let before = cpu_ms(&ids, false);
            let seconds = poured.once(&client, number).context("capture")?;
            poured.cores.push((cpu_ms(&ids, false) - before) / 1e3 / seconds);
            poured.read(&client, number)?;
            stop_and_rest(&client, &pour_id(number))?;
        }
        let Poured { captured, cores, plain, framed } = poured;
        figures.push(Figure::of("b14 log capture", &product.name, "MB/s", captured));
        if product.is_drover() {
            // A peer's helper processes go with the task, and with them what they took.
            figures.push(Figure::of("b14 log capture, processor", &product.name, "cores", cores));
        }
        figures.push(Figure::of("b14 logs read, plain", &product.name, "MB/s", plain));
        figures.push(Figure::of("b14 logs read, in frames", &product.name, "MB/s", framed));
        match echo(&client) {
            Ok(samples) => figures.push(Figure::of("b14 exec echo", &product.name, "ms", samples)),
            Err(error) => eprintln!("exec of {} is left out: {error:#}", product.name),
        }
    }
    Ok(figures)
}

/// A job of this program.
fn deed(id: &str, kind: &str, words: &[&str]) -> anyhow::Result<Value> {
    let program = std::env::current_exe()?.display().to_string();
    let words: Vec<&str> = std::iter::once(deeds::WORD).chain(words.iter().copied()).collect();
    let mut job = job(id, kind, "raw_exec", 1, &program, &words);
    job["TaskGroups"][0]["EphemeralDisk"] = json!({"SizeMB": 2 * FILES * FILE_MIB});
    job["TaskGroups"][0]["Tasks"][0]["LogConfig"] = json!({"MaxFiles": FILES, "MaxFileSizeMB": FILE_MIB});
    Ok(job)
}

fn order(stream: &'static str, follow: bool) -> LogOrder {
    LogOrder { task: "t".to_owned(), stream, follow, from_end: false, offset: 0 }
}

/// Milliseconds between a line's writing, which it says itself, and its arrival.
fn follow(client: &Client) -> anyhow::Result<Vec<f64>> {
    let lines = (LINES + LINES_AHEAD).to_string();
    register(client, &deed("b14-follow", "service", &["stamp", &lines, &PAUSE_MS.to_string()])?)?;
    wait_for_allocs(client, "b14-follow", "running", 1)?;
    let frames = client.logs(&only_alloc(client, "b14-follow")?, &order("stdout", true))?;
    let (mut samples, mut rest, mut begun, end) = (Vec::new(), Vec::new(), None, Instant::now() + WAIT_MAX);
    for frame in frames {
        let frame = frame?;
        let now = now_ns();
        // What stood there before the first frame came says nothing of the way.
        let begun = *begun.get_or_insert(now);
        rest.extend(frame.data);
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=length).collect();
            let stamp: u64 = String::from_utf8_lossy(&line).trim().parse().context("a line that is no time")?;
            if stamp > begun {
                samples.push(now.saturating_sub(stamp) as f64 / 1e6);
            }
        }
        if samples.len() >= LINES || Instant::now() > end {
            break;
        }
    }
    ensure!(samples.len() >= LINES, "{} of {LINES} lines came", samples.len());
    stop_and_rest(client, "b14-follow")?;
    Ok(samples)
}

/// What was measured of a task that writes as fast as it can.
#[derive(Default)]
struct Poured {
    captured: Vec<f64>,
    cores: Vec<f64>,
    plain: Vec<f64>,
    framed: Vec<f64>,
}

fn pour_id(number: usize) -> String {
    format!("b14-pour-{number}")
}

impl Poured {
    /// Runs it; gives the seconds that it wrote for.
    fn once(&mut self, client: &Client, number: usize) -> anyhow::Result<f64> {
        let id = pour_id(number);
        register(client, &deed(&id, "batch", &["pour", &POURED_BLOCKS.to_string()])?)?;
        wait_for_count(client, &id, "Complete", 1, WAIT_MAX)?;
        let told = read_plain(client, &id, "stderr")?.0;
        let nanoseconds: f64 = String::from_utf8_lossy(&told).trim().parse().context("the task says no time")?;
        let seconds = nanoseconds / 1e9;
        self.captured.push(bytes_poured() as f64 / MB / seconds);
        Ok(seconds)
    }

    /// Reads all of it in both ways and looks at each block.
    fn read(&mut self, client: &Client, number: usize) -> anyhow::Result<()> {
        let id = pour_id(number);
        let (text, seconds) = read_plain(client, &id, "stdout")?;
        check(&text).context("read plain")?;
        self.plain.push(text.len() as f64 / MB / seconds);
        drop(text);
        let start = Instant::now();
        let mut text = PouredCheck::default();
        for frame in client.logs(&only_alloc(client, &id)?, &order("stdout", false))? {
            text.take(&frame?.data)?;
        }
        ensure!(text.bytes() == bytes_poured(), "{} of {} bytes are there", text.bytes(), bytes_poured());
        self.framed.push(text.bytes() as f64 / MB / start.elapsed().as_secs_f64());
        Ok(())
    }
}

fn bytes_poured() -> u64 {
    POURED_BLOCKS * BLOCK_BYTES as u64
}

/// A log as it is, and the seconds that it took to come.
fn read_plain(client: &Client, id: &str, stream: &str) -> anyhow::Result<(Vec<u8>, f64)> {
    let alloc = only_alloc(client, id)?;
    let options = QueryOptions::default().with("task", "t").with("type", stream).with("plain", "true");
    let start = Instant::now();
    let mut text = Vec::new();
    let mut body = client.stream(&format!("/v1/client/fs/logs/{alloc}"), &options)?;
    body.read_to_end(&mut text)?;
    Ok((text, start.elapsed().as_secs_f64()))
}

/// No byte is lost, none is doubled.
fn check(text: &[u8]) -> anyhow::Result<()> {
    let mut poured = PouredCheck::default();
    poured.take(text)?;
    ensure!(poured.bytes() == bytes_poured(), "{} of {} bytes are there", poured.bytes(), bytes_poured());
    Ok(())
}

/// Milliseconds of a line to a command inside a task and back.
fn echo(client: &Client) -> anyhow::Result<Vec<f64>> {
    register(client, &job("b14-echo", "service", "raw_exec", 1, "/bin/sleep", &["300"]))?;
    wait_for_allocs(client, "b14-echo", "running", 1)?;
    let order = ExecOrder { task: "t".to_owned(), command: vec!["/bin/cat".to_owned()], tty: false };
    let mut exec = client.exec(&only_alloc(client, "b14-echo")?, &order)?;
    let mut samples = Vec::with_capacity(ECHOES);
    // The first one waits until the command is there.
    for number in 0..=ECHOES {
        let line = format!("line {number}\n");
        let start = Instant::now();
        exec.send(line.as_bytes())?;
        let mut back = Vec::new();
        while back.len() < line.len() {
            for heard in exec.hear() {
                match heard {
                    Heard::Stdout(data) => back.extend(data),
                    Heard::Stderr(data) => bail!("{}", String::from_utf8_lossy(&data)),
                    other => bail!("{other:?}"),
                }
            }
            if back.len() < line.len() {
                ensure!(start.elapsed() < WAIT_MAX, "no echo");
                let one_second = Timespec { tv_sec: 1, tv_nsec: 0 };
                poll(&mut [PollFd::new(&exec, PollFlags::IN)], Some(&one_second))?;
            }
        }
        ensure!(back == line.as_bytes(), "another echo: {:?}", String::from_utf8_lossy(&back));
        if number > 0 {
            samples.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    drop(exec);
    stop_and_rest(client, "b14-echo")?;
    Ok(samples)
}
