//! Was a recorded history of one register linearizable? The search of Wing and Gong with the memory of Lowe: operations are
//! taken in an order that agrees with real time, and a set of operations that led to the same value before is not tried again.
//!
//! Registers are independent of each other, so a history of several is checked one register at a time.

use std::collections::HashSet;
use std::time::Duration;

/// What was done to a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It was read and held this.
    Read(u64),
    /// It held `from` and holds `to` now.
    Swapped {
        /// The value before.
        from: u64,
        /// The value after.
        to: u64,
    },
    /// It did not hold `from`, and was left alone.
    Kept {
        /// The value that was expected.
        from: u64,
    },
    /// Nobody knows whether it was changed from `from` to `to`: at any time after the call, or never.
    Unknown {
        /// The value before, if it was changed.
        from: u64,
        /// The value after, if it was changed.
        to: u64,
    },
}

/// One operation, with its times since the history's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was asked for.
    pub called: Duration,
    /// When the answer was there.
    pub returned: Duration,
    /// What it did.
    pub act: Act,
}

/// No order explains the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The operation that has no place, in the longest order that was found.
    pub stuck: Operation,
    /// How many operations that order holds.
    pub placed: usize,
    /// What the register held at its end.
    pub value: u64,
}

/// Looks for an order of the operations that begins with `initial`, agrees with real time and explains every answer.
///
/// # Errors
/// There is none.
pub fn check(initial: u64, operations: &[Operation]) -> Result<(), Violation> {
    Search::new(initial, operations).run()
}

/// The value after the operation, if it can have happened while the register held `value`.
fn step(value: u64, act: &Act) -> Option<u64> {
    match *act {
        Act::Read(seen) => (seen == value).then_some(value),
        Act::Swapped { from, to } | Act::Unknown { from, to } => (from == value).then_some(to),
        Act::Kept { from } => (from != value).then_some(value),
    }
}

#[derive(Clone, Copy)]
struct Event {
    operation: usize,
    is_return: bool,
    /// Neighbours among the events that are still open; the list's ends are [`HEAD`] and `events.len()`.
    before: usize,
    after: usize,
}

/// A place before the first event.
const HEAD: usize = 0;

struct Search<'a> {
    operations: &'a [Operation],
    /// In the order of their times, behind the head.
    events: Vec<Event>,
    /// By operation: its return, where it has one.
    returns: Vec<Option<usize>>,
    open_returns: usize,
    value: u64,
    placed: Vec<u64>,
    /// The operations' calls in the order found so far, each with the value before it.
    order: Vec<(usize, u64)>,
    longest: Option<Violation>,
}

impl<'a> Search<'a> {
    fn new(initial: u64, operations: &'a [Operation]) -> Self {
        let mut times = Vec::new();
        for (number, operation) in operations.iter().enumerate() {
            times.push((operation.called, false, number));
            // What is not known may still happen at the end of time.
            if !matches!(operation.act, Act::Unknown { .. }) {
                times.push((operation.returned, true, number));
            }
        }
        // A call at the very moment of a return counts as before it: that admits more orders, never fewer.
        times.sort_unstable();
        let head = Event { operation: usize::MAX, is_return: false, before: HEAD, after: 1 };
        let behind = times.iter().enumerate().map(|(place, (_, is_return, operation))| Event {
            operation: *operation,
            is_return: *is_return,
            before: place,
            after: place + 2,
        });
        let events: Vec<Event> = std::iter::once(head).chain(behind).collect();
        let mut returns = vec![None; operations.len()];
        for (place, event) in events.iter().enumerate().filter(|(_, event)| event.is_return) {
            returns[event.operation] = Some(place);
        }
        Self {
            operations,
            open_returns: returns.iter().flatten().count(),
            events,
            returns,
            value: initial,
            placed: vec![0; operations.len().div_ceil(64)],
            order: Vec::new(),
            longest: None,
        }
    }

    fn run(mut self) -> Result<(), Violation> {
        let mut seen: HashSet<(Vec<u64>, u64)> = HashSet::new();
        let mut at = self.events[HEAD].after;
        while self.open_returns > 0 {
            // A return is open, so the list does not end before one.
            let event = self.events[at];
            if !event.is_return {
                let operation = event.operation;
                if let Some(next) = step(self.value, &self.operations[operation].act) {
                    self.flip(operation);
                    if seen.insert((self.placed.clone(), next)) {
                        self.order.push((at, self.value));
                        self.value = next;
                        self.lift(at);
                        at = self.events[HEAD].after;
                        continue;
                    }
                    self.flip(operation);
                }
                at = event.after;
                continue;
            }
            self.note(event.operation);
            let Some((call, value)) = self.order.pop() else {
                return Err(self.longest.expect("noted just now"));
            };
            self.value = value;
            self.flip(self.events[call].operation);
            self.unlift(call);
            at = self.events[call].after;
        }
        Ok(())
    }

    fn note(&mut self, operation: usize) {
        let placed = self.order.len();
        if self.longest.as_ref().is_none_or(|longest| longest.placed < placed) {
            self.longest = Some(Violation { stuck: self.operations[operation].clone(), placed, value: self.value });
        }
    }

    fn flip(&mut self, operation: usize) {
        self.placed[operation / 64] ^= 1 << (operation % 64);
    }

    /// Takes a call and its return out of the list. They keep their neighbours, so that they can be put back.
    fn lift(&mut self, call: usize) {
        self.unlink(call);
        if let Some(end) = self.returns[self.events[call].operation] {
            self.unlink(end);
            self.open_returns -= 1;
        }
    }

    /// The reverse of the last [`Self::lift`].
    fn unlift(&mut self, call: usize) {
        if let Some(end) = self.returns[self.events[call].operation] {
            self.link(end);
            self.open_returns += 1;
        }
        self.link(call);
    }

    fn unlink(&mut self, place: usize) {
        let Event { before, after, .. } = self.events[place];
        self.events[before].after = after;
        if let Some(next) = self.events.get_mut(after) {
            next.before = before;
        }
    }

    fn link(&mut self, place: usize) {
        let Event { before, after, .. } = self.events[place];
        self.events[before].after = place;
        if let Some(next) = self.events.get_mut(after) {
            next.before = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(called: u64, returned: u64, act: Act) -> Operation {
        Operation { called: Duration::from_millis(called), returned: Duration::from_millis(returned), act }
    }

    fn swap(from: u64, to: u64) -> Act {
        Act::Swapped { from, to }
    }

    #[test]
    fn orders_that_explain_all_are_found() {
        check(0, &[]).unwrap();
        check(0, &[at(0, 1, Act::Read(0)), at(2, 3, swap(0, 1)), at(4, 5, Act::Read(1))]).unwrap();
        // A read during a change may see either value, and two reads may see both in turn.
        check(0, &[at(0, 9, swap(0, 1)), at(1, 2, Act::Read(0)), at(3, 4, Act::Read(1))]).unwrap();
        // The later call comes first.
        check(0, &[at(0, 9, swap(1, 2)), at(1, 8, swap(0, 1)), at(10, 11, Act::Read(2))]).unwrap();
        // One of two wins, the other is told so.
        check(0, &[at(0, 5, swap(0, 1)), at(1, 6, Act::Kept { from: 0 })]).unwrap();
        // The same moment is no order.
        check(0, &[at(0, 5, swap(0, 1)), at(5, 6, Act::Read(0))]).unwrap();
    }

    #[test]
    fn what_nobody_knows_may_happen_late_or_never() {
        let unknown = at(0, 1, Act::Unknown { from: 0, to: 1 });
        check(0, &[unknown.clone(), at(2, 3, Act::Read(0))]).unwrap();
        check(0, &[unknown.clone(), at(2, 3, Act::Read(0)), at(4, 5, Act::Read(1))]).unwrap();
        check(0, &[unknown.clone(), at(2, 3, Act::Read(1)), at(4, 5, Act::Read(0))]).unwrap_err();
        // Not before it was asked for.
        check(0, &[at(0, 1, Act::Read(1)), at(2, 3, Act::Unknown { from: 0, to: 1 })]).unwrap_err();
        // Not twice.
        let twice = [unknown, at(2, 3, swap(1, 0)), at(4, 5, Act::Read(1))];
        check(0, &twice).unwrap_err();
    }

    #[test]
    fn histories_without_an_order_are_refused() {
        // A read that is older than one before it.
        let back = [at(0, 1, swap(0, 1)), at(2, 3, Act::Read(1)), at(4, 5, Act::Read(0))];
        let violation = check(0, &back).unwrap_err();
        assert_eq!(violation, Violation { stuck: back[2].clone(), placed: 2, value: 1 });
        // A stale read, after the change was acknowledged.
        check(0, &[at(0, 1, swap(0, 1)), at(2, 3, Act::Read(0))]).unwrap_err();
        // A lost change.
        check(0, &[at(0, 1, swap(0, 1)), at(2, 3, swap(0, 2))]).unwrap_err();
        // Two winners of one race.
        check(0, &[at(0, 5, swap(0, 1)), at(1, 6, swap(0, 2))]).unwrap_err();
        // Refused although it was as expected all the time.
        check(0, &[at(0, 1, Act::Kept { from: 0 })]).unwrap_err();
        // A value that nobody wrote.
        check(0, &[at(0, 1, Act::Read(7))]).unwrap_err();
        // Two reads see two concurrent changes in different orders.
        let crossed = [
            at(0, 20, swap(0, 1)),
            at(0, 20, swap(1, 0)),
            at(1, 2, Act::Read(1)),
            at(3, 4, Act::Read(0)),
            at(5, 6, Act::Read(1)),
        ];
        check(0, &crossed).unwrap_err();
    }

    /// A register that is really one, asked by several at once: the moment of truth lies anywhere between call and answer.
    fn honest(operations: usize, clients: u64, mut seed: u64) -> Vec<Operation> {
        let mut dice = move |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        let (mut value, mut history) = (0, Vec::new());
        for number in 0..operations as u64 {
            let truth = number * 10 + 1000;
            let called = truth - dice(10 * clients);
            let returned = truth + dice(10 * clients);
            let act = match dice(10) {
                0..5 => Act::Read(value),
                5 => Act::Kept { from: value + 1 },
                kind => {
                    let from = std::mem::replace(&mut value, number + 2);
                    if kind == 9 { Act::Unknown { from, to: value } } else { swap(from, value) }
                }
            };
            history.push(at(called, returned, act));
        }
        history
    }

    #[test]
    fn long_histories_are_checked_quickly() {
        for seed in 0..4 {
            let mut history = honest(2000, 8, seed);
            check(0, &history).unwrap();
            // One answer from the past, long after it was overwritten.
            let last = history.last().unwrap().returned;
            history.push(at(last.as_millis() as u64 + 1, last.as_millis() as u64 + 2, Act::Read(0)));
            check(0, &history).unwrap_err();
        }
    }
}
