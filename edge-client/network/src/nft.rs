//! nf_tables: tables, chains and rules as messages, and the one transaction that puts them in place.

use std::io;
use std::net::IpAddr;

use rustix::net::netlink::NETFILTER;

use crate::link::bytes_of;
use crate::netlink::{APPEND, CREATE, Message, Socket};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DELETE_RULE: u16 = 8;

const JUMP: i32 = -3;
const DROP: i32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
const VERDICT: u32 = 0;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
/// What the kernel calls an address of this host.
const LOCAL: u32 = 2;
/// A connection whose destination was changed.
const DESTINATION_CHANGED: u32 = 32;

/// Of which addresses a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Where source and destination stand in a packet, and their length.
    fn addresses(self) -> (u32, u32, u32) {
        match self {
            Family::V4 => (12, 16, 4),
            Family::V6 => (8, 24, 16),
        }
    }
}

/// Where a chain hangs in the way of packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

impl Hook {
    pub(crate) const fn raw_prerouting() -> Hook {
        Hook { kind: "filter", number: 0, priority: -300 }
    }

    pub(crate) const fn prerouting() -> Hook {
        Hook { kind: "nat", number: 0, priority: -100 }
    }

    pub(crate) const fn output() -> Hook {
        Hook { kind: "nat", number: 3, priority: -100 }
    }

    pub(crate) const fn postrouting() -> Hook {
        Hook { kind: "nat", number: 4, priority: 100 }
    }
}

/// One table with what is to be in it.
#[derive(Debug)]
pub(crate) struct Transaction {
    family: Family,
    table: String,
    messages: Vec<Message>,
    rules: usize,
}

impl Transaction {
    /// Makes the table if it is not there.
    pub(crate) fn new(family: Family, table: &str) -> Transaction {
        let mut this = Transaction { family, table: table.to_owned(), messages: Vec::new(), rules: 0 };
        this.push(NEW_TABLE, CREATE, |message| {
            message.text(1, table);
        });
        this
    }

    /// Takes the table away, first of all.
    pub(crate) fn deleted(family: Family, table: &str) -> Transaction {
        let mut this = Transaction::new(family, table);
        this.push(DELETE_TABLE, 0, |message| {
            message.text(1, table);
        });
        this
    }

    /// A chain without rules: made if it is not there, else emptied.
    pub(crate) fn chain(&mut self, name: &str, hook: Option<Hook>) {
        let table = self.table.clone();
        self.push(NEW_CHAIN, CREATE, |message| {
            message.text(1, &table).text(3, name);
            if let Some(hook) = hook {
                message.nest(4, |place| {
                    place.big(1, hook.number).big(2, hook.priority as u32);
                });
                message.text(7, hook.kind);
            }
        });
        self.push(DELETE_RULE, 0, |message| {
            message.text(1, &table).text(2, name);
        });
    }

    /// A rule behind those of the chain.
    pub(crate) fn rule(&mut self, chain: &str, rule: Rule) {
        let table = self.table.clone();
        self.rules += 1;
        self.push(NEW_RULE, CREATE | APPEND, |message| {
            message.text(1, &table).text(2, chain).nest(4, |list| {
                for expression in rule.0 {
                    list.nest(1, |element| {
                        element.raw(&expression);
                    });
                }
            });
        });
    }

    /// How many rules it has.
    pub(crate) fn rule_count(&self) -> usize {
        self.rules
    }

    fn push(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Message)) {
        let mut message = Message::new(SUBSYSTEM << 8 | kind, flags, &[self.family.number(), 0, 0, 0]);
        fill(&mut message);
        self.messages.push(message);
    }

    /// All of it, or nothing.
    pub(crate) fn commit(self) -> io::Result<()> {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        let frame = |kind| Message::new(kind, 0, &[0, 0, high, low]);
        let mut messages = vec![frame(BATCH_BEGIN)];
        messages.extend(self.messages);
        messages.push(frame(BATCH_END));
        Socket::open(Some(NETFILTER))?.batch(messages, 1)
    }
}

/// One rule: what a packet must be, and what becomes of it.
#[derive(Debug, Default)]
pub(crate) struct Rule(Vec<Vec<u8>>);

impl Rule {
    pub(crate) fn new() -> Rule {
        Rule::default()
    }

    pub(crate) fn in_by(self, name: &str) -> Self {
        self.meta(6).compare(EQUAL, &link_name(name))
    }

    pub(crate) fn out_by(self, name: &str) -> Self {
        self.meta(7).compare(EQUAL, &link_name(name))
    }

    pub(crate) fn not_out_by(self, name: &str) -> Self {
        self.meta(7).compare(NOT_EQUAL, &link_name(name))
    }

    /// 6 for TCP, 17 for UDP.
    pub(crate) fn protocol(self, number: u8) -> Self {
        self.meta(16).compare(EQUAL, &[number])
    }

    pub(crate) fn at_port(self, port: u16) -> Self {
        self.payload(2, 2, 2).compare(EQUAL, &port.to_be_bytes())
    }

    pub(crate) fn at_address(self, family: Family, ip: &IpAddr) -> Self {
        let (_, at, len) = family.addresses();
        self.payload(1, at, len).compare(EQUAL, &bytes_of(ip))
    }

    pub(crate) fn source_in(self, family: Family, network: &IpAddr, prefix: u8) -> Self {
        let (at, _, len) = family.addresses();
        self.payload(1, at, len).masked(prefix, len).compare(EQUAL, &bytes_of(network))
    }

    pub(crate) fn target_in(self, family: Family, network: &IpAddr, prefix: u8) -> Self {
        let (_, at, len) = family.addresses();
        self.payload(1, at, len).masked(prefix, len).compare(EQUAL, &bytes_of(network))
    }

    pub(crate) fn target_not_in(self, family: Family, network: &IpAddr, prefix: u8) -> Self {
        let (_, at, len) = family.addresses();
        self.payload(1, at, len).masked(prefix, len).compare(NOT_EQUAL, &bytes_of(network))
    }

    /// To an address of this host.
    pub(crate) fn target_is_local(self) -> Self {
        self.push("fib", |data| {
            data.big(1, REGISTER_1).big(2, 3).big(3, 2);
        })
        .compare(EQUAL, &LOCAL.to_ne_bytes())
    }

    /// Of a connection whose destination was changed.
    pub(crate) fn forwarded(self) -> Self {
        self.push("ct", |data| {
            data.big(1, REGISTER_1).big(2, 2);
        })
        .push("bitwise", |data| {
            data.big(1, REGISTER_1).big(2, REGISTER_1).big(3, 4);
            value(data, 4, &DESTINATION_CHANGED.to_ne_bytes());
            value(data, 5, &[0; 4]);
        })
        .compare(NOT_EQUAL, &[0; 4])
    }

    pub(crate) fn jump(self, chain: &str) -> Self {
        self.verdict(JUMP, Some(chain))
    }

    pub(crate) fn drop(self) -> Self {
        self.verdict(DROP, None)
    }

    pub(crate) fn masquerade(self) -> Self {
        self.push("masq", |_| {})
    }

    /// The packet's connection goes there instead.
    pub(crate) fn send_to(self, family: Family, ip: &IpAddr, port: u16) -> Self {
        self.immediate(REGISTER_1, &bytes_of(ip)).immediate(REGISTER_2, &port.to_be_bytes()).push("nat", |data| {
            data.big(1, 1).big(2, u32::from(family.number())).big(3, REGISTER_1).big(5, REGISTER_2);
        })
    }

    fn verdict(self, code: i32, chain: Option<&str>) -> Self {
        self.push("immediate", |data| {
            data.big(1, VERDICT).nest(2, |inner| {
                inner.nest(2, |verdict| {
                    verdict.big(1, code as u32);
                    if let Some(chain) = chain {
                        verdict.text(2, chain);
                    }
                });
            });
        })
    }

    fn immediate(self, register: u32, bytes: &[u8]) -> Self {
        self.push("immediate", |data| {
            data.big(1, register);
            value(data, 2, bytes);
        })
    }

    fn meta(self, key: u32) -> Self {
        self.push("meta", |data| {
            data.big(1, REGISTER_1).big(2, key);
        })
    }

    fn payload(self, base: u32, at: u32, len: u32) -> Self {
        self.push("payload", |data| {
            data.big(1, REGISTER_1).big(2, base).big(3, at).big(4, len);
        })
    }

    fn masked(self, prefix: u8, len: u32) -> Self {
        let bytes: Vec<u8> = (0..len as u8).map(|place| ones(prefix.saturating_sub(place * 8))).collect();
        self.push("bitwise", |data| {
            data.big(1, REGISTER_1).big(2, REGISTER_1).big(3, len);
            value(data, 4, &bytes);
            value(data, 5, &vec![0; bytes.len()]);
        })
    }

    fn compare(self, how: u32, with: &[u8]) -> Self {
        self.push("cmp", |data| {
            data.big(1, REGISTER_1).big(2, how);
            value(data, 3, with);
        })
    }

    fn push(mut self, name: &str, fill: impl FnOnce(&mut Message)) -> Self {
        let mut expression = Message::bare();
        expression.text(1, name).nest(2, fill);
        self.0.push(expression.into_bytes());
        self
    }
}

fn value(data: &mut Message, kind: u16, bytes: &[u8]) {
    data.nest(kind, |inner| {
        inner.attr(1, bytes);
    });
}

/// A byte with that many leading ones.
fn ones(count: u8) -> u8 {
    if count >= 8 { 0xff } else { !(0xff_u8 >> count) }
}

/// A link's name as rules compare it.
fn link_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}

/// Gives each rule that there is of a table, or of all, to `each`: the body of its message.
pub(crate) fn rules(family: Family, table: Option<&str>, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut question = Message::new(SUBSYSTEM << 8 | GET_RULE, crate::netlink::DUMP, &[family.number(), 0, 0, 0]);
    if let Some(table) = table {
        question.text(1, table);
    }
    let listed = Socket::open(Some(NETFILTER))?.dump(question, |_, body| {
        let its = crate::netlink::attributes(body, 4).find(|(kind, _)| *kind == 1);
        let its = its.map(|(_, value)| crate::netlink::text_of(value));
        if table.is_none_or(|table| its.as_deref() == Some(table)) {
            each(body);
        }
    });
    match listed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        listed => listed,
    }
}

/// The tables that there are.
#[cfg(test)]
pub(crate) fn tables() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let question = Message::new(SUBSYSTEM << 8 | 1, crate::netlink::DUMP, &[0; 4]);
    Socket::open(Some(NETFILTER))?.dump(question, |_, body| {
        let name = crate::netlink::attributes(body, 4).find(|(kind, _)| *kind == 1);
        found.extend(name.map(|(_, value)| crate::netlink::text_of(value)));
    })?;
    Ok(found)
}
