//! Clients that compare and set registers and remember what they were told, for a check of their history.
//!
//! A register is a job: its metadata is the value, `EnforceIndex` the comparison. Every value is written once, so an index stands
//! for a value. It is a job that waits to be dispatched: a write of it is one entry of the log and nothing more, no eval and no plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use drover_api_client::{Client, Error, QueryOptions};
use drover_harness::linear::{self, Act, Operation};
use drover_harness::wait_for;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::region::{Place, Region, WHOLE_MAX};
use crate::writers::small_job;

/// The rest after a call that failed: sixty clients that ask at once again would keep two cores from the servers.
const REST: Duration = Duration::from_millis(50);
/// Between two stale reads of one server: they are cheap, and shall leave the machine to those that are not.
const STALE_PACE: Duration = Duration::from_millis(50);
/// The longest time until a history is full, on the slowest machine.
const HISTORY_MAX: Duration = Duration::from_secs(800);
/// Values begin with the client's number times this.
const VALUES_PER_CLIENT: u64 = 1 << 32;

/// Histories that are recorded side by side while a region suffers: each has registers and clients of its own.
pub struct History {
    name: String,
    /// How many there are.
    count: usize,
    /// How many registers each has.
    registers: usize,
    /// How many operations all of them shall hold.
    wanted: usize,
    done: AtomicUsize,
    /// The clients shall end, full or not.
    stop: AtomicBool,
    begin: Instant,
    operations: Mutex<BTreeMap<usize, Vec<Operation>>>,
    problems: Mutex<Vec<String>>,
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// Operations in it.
    pub operations: usize,
    /// Those nobody knows the outcome of.
    pub unknown: usize,
    /// Reads that asked for no more than what the server has.
    pub stale_reads: usize,
}

impl History {
    /// Makes the registers; their first value is 0. `wanted` is how many operations each of `count` histories shall hold.
    ///
    /// # Panics
    /// They can't be made.
    pub fn new(name: &str, count: usize, registers: usize, wanted: usize, region: &Region) -> Self {
        let history = Self {
            name: name.to_owned(),
            count,
            registers,
            wanted: wanted * count,
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            begin: Instant::now(),
            operations: Mutex::default(),
            problems: Mutex::default(),
        };
        let place = region.places()[0].clone();
        let make = || {
            let client = place.client();
            for register in 0..registers * count {
                let id = history.id(register);
                let body = json!({ "Job": register_of(&id, 0) });
                // Sent again it changes nothing.
                let write = || client.write::<Value>("/v1/jobs", &body, &QueryOptions::default());
                wait_for("a register", WHOLE_MAX, || write().map_err(|error| error.to_string()));
            }
        };
        std::thread::scope(|scope| scope.spawn(make).join().expect("the registers are made"));
        history
    }

    fn id(&self, register: usize) -> String {
        format!("{}-r{register}", self.name)
    }

    /// Operations so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// It holds what it shall hold.
    ///
    /// # Panics
    /// It should long have been full.
    pub fn is_full(&self) -> bool {
        let is_full = self.done() >= self.wanted;
        assert!(is_full || self.begin.elapsed() < HISTORY_MAX, "{} of {} operations", self.done(), self.wanted);
        is_full
    }

    fn is_over(&self) -> bool {
        self.done() >= self.wanted || self.stop.load(Ordering::SeqCst)
    }

    /// Waits until that many more operations are done, or it is full, or the time is over: a region may suffer so much that nothing
    /// is done.
    pub fn wait_for_more(&self, more: usize, limit: Duration) {
        let (before, end) = (self.done(), Instant::now() + limit);
        wait_for("operations", limit * 2, || {
            let is_enough = self.done() >= before + more || self.is_full() || Instant::now() > end;
            if is_enough { Ok(()) } else { Err("fewer") }
        });
    }

    /// Runs a client of every server for each history, and one of every server that reads stale, until all are full; `faults`
    /// runs beside them.
    ///
    /// # Panics
    /// The history has no order, or a stale read went back.
    pub fn run(&self, region: &mut Region, seed: &mut Dice, faults: impl FnOnce(&mut Region)) -> Found {
        let places: Vec<Place> = region.places().to_vec();
        let stale_reads = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for (number, place) in places.iter().enumerate() {
                for history in 0..self.count {
                    let seed = seed.roll(usize::MAX) as u64;
                    scope.spawn(move || self.client(number, history, place, Dice::new(seed)));
                }
                let stale_reads = &stale_reads;
                scope.spawn(move || self.stale_reader(place, stale_reads));
            }
            // Also when the faults end in a panic: the clients would go on for ever.
            let _stop = StopAtEnd(&self.stop);
            faults(region);
        });
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(problems.is_empty(), "{problems:#?}");
        let operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        for (register, operations) in &*operations {
            if let Err(violation) = linear::check(0, operations) {
                let mut near = operations.clone();
                near.sort_by_key(|operation| operation.called);
                let stuck = violation.stuck.called;
                let window = Duration::from_secs(2);
                near.retain(|one| one.returned + window > stuck && one.called < stuck + window);
                panic!("register {register} of {}: {violation:?}\n{near:#?}", self.name);
            }
        }
        let unknown = |one: &&Operation| matches!(one.act, Act::Unknown { .. });
        Found {
            operations: operations.values().map(Vec::len).sum(),
            unknown: operations.values().flatten().filter(unknown).count(),
            stale_reads: stale_reads.load(Ordering::SeqCst),
        }
    }

    fn note(&self, register: usize, called: Duration, act: Act) {
        let operation = Operation { called, returned: self.begin.elapsed(), act };
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).entry(register).or_default().push(operation);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn problem(&self, text: String) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    fn client(&self, server: usize, history: usize, place: &Place, mut dice: Dice) {
        let api = place.client();
        let mut next = (server * self.count + history + 1) as u64 * VALUES_PER_CLIENT;
        // By register: what this client saw last, and its index.
        let mut seen: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        while !self.is_over() {
            let register = history * self.registers + dice.roll(self.registers);
            let called = self.begin.elapsed();
            // What was seen is compared once: whoever changed the register or lost has to look again.
            if let Some((from, index)) = seen.remove(&register) {
                next += 1;
                let act = match swap(&api, &self.id(register), index, next) {
                    Swap::Done(index) => {
                        seen.insert(register, (next, index));
                        Act::Swapped { from, to: next }
                    }
                    Swap::Kept => Act::Kept { from },
                    Swap::Unknown => Act::Unknown { from, to: next },
                };
                let is_unknown = matches!(act, Act::Unknown { .. });
                self.note(register, called, act);
                if is_unknown {
                    std::thread::sleep(REST);
                }
                continue;
            }
            match read(&api, &self.id(register), false) {
                Ok((value, index, _)) => {
                    self.note(register, called, Act::Read(value));
                    seen.insert(register, (value, index));
                }
                Err(Error::Refused { status: 404, body }) => {
                    self.problem(format!("register {register} is gone: {body}"))
                }
                // It says nothing about the register.
                Err(_) => std::thread::sleep(REST),
            }
        }
    }

    /// What one process shows never gets older: neither a register's index nor that of the whole state.
    fn stale_reader(&self, place: &Place, count: &AtomicUsize) {
        let api = place.client();
        let mut floor: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
        let (mut life, mut turn) = (place.lives(), 0);
        while !self.is_over() {
            let now = place.lives();
            if now != life {
                // The next process has what is on its disk until it hears more.
                (life, floor) = (now, BTreeMap::new());
            }
            std::thread::sleep(STALE_PACE);
            turn += 1;
            let register = turn % (self.registers * self.count);
            let Ok((value, index, state_index)) = read(&api, &self.id(register), true) else { continue };
            if place.lives() != life {
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let (old, old_state) = floor.insert(register, (index, state_index)).unwrap_or_default();
            if index < old || state_index < old_state {
                self.problem(format!(
                    "a stale read of register {register} went back: {old} to {index} ({value}), state {old_state} to {state_index}"
                ));
            }
        }
    }
}

/// A register with that value.
fn register_of(id: &str, value: u64) -> Value {
    let mut job = small_job(id, &value.to_string());
    job["Type"] = json!("batch");
    job["ParameterizedJob"] = json!({});
    job
}

enum Swap {
    Done(u64),
    Kept,
    Unknown,
}

fn swap(api: &Client, id: &str, index: u64, value: u64) -> Swap {
    let body = json!({ "Job": register_of(id, value), "EnforceIndex": true, "JobModifyIndex": index });
    match api.write::<Value>("/v1/jobs", &body, &QueryOptions::default()) {
        Ok(answer) => answer.value["JobModifyIndex"].as_u64().map_or(Swap::Unknown, Swap::Done),
        Err(Error::Refused { body, .. }) if body.contains("Enforcing job modify index") => Swap::Kept,
        // Even "no leader" may stand for more than one attempt.
        Err(_) => Swap::Unknown,
    }
}

/// Value, its index, and the index of the answer.
fn read(api: &Client, id: &str, stale: bool) -> Result<(u64, u64, u64), Error> {
    let options = QueryOptions { stale, ..QueryOptions::default() };
    let answer = api.read::<Value>(&format!("/v1/job/{id}"), &options)?;
    let value = answer.value["Meta"]["note"].as_str().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    Ok((value, answer.value["JobModifyIndex"].as_u64().unwrap_or_default(), answer.meta.index))
}
