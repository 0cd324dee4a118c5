//! The packets between servers: foca's own, and ours around it.
//!
//! Two bytes come first: the version of the form, and the kind.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes};
use foca::{Header, State};

use crate::ident::Ident;
use crate::wire::{
    WireError, get_address, get_header, get_ident, get_member, get_u8, get_u16, get_u64, put_address, put_ident,
    put_member,
};

/// The form of all packets. Servers that speak another do not understand each other.
const VERSION: u8 = 1;
/// The largest packet that is read or made, in bytes: a welcome with a thousand members.
pub const PACKET_MAX: usize = 256 * 1024;

const SWIM: u8 = 0;
const JOIN: u8 = 1;
const HERE: u8 = 2;
const WELCOME: u8 = 3;
const STALE: u8 = 4;
const NAME_TAKEN: u8 = 5;

/// A packet that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Packet<'a> {
    /// Foca's: probes, acks, news.
    Swim(Swim<'a>),
    /// "Take me in, and tell me whom you know." Also asked now and then of members, so that news that got lost are heard of.
    Join(Ident),
    /// "This is what I am now", to somebody who wrote to what this server was.
    Here(Ident),
    /// The answer to a join: who is there, and who is gone.
    Welcome { own: Ident, known: Vec<foca::Member<Ident>> },
    /// "I know you by a newer identity", or by this one, as down: come back with a higher incarnation.
    Stale { incarnation: u64, is_down: bool, by: SocketAddr },
    /// "Another server of your name lives at this address."
    NameTaken { at: SocketAddr },
}

/// Foca's packet, whole and in parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Swim<'a> {
    pub(crate) header: Header<Ident>,
    /// What is told of members, each with its bytes.
    pub(crate) updates: Vec<(foca::Member<Ident>, &'a [u8])>,
    header_bytes: &'a [u8],
    has_updates: bool,
}

impl Swim<'_> {
    /// The bytes for foca, with the updates that are left.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header_bytes.to_vec();
        if self.has_updates {
            // The count has not grown since it was read as such a number.
            bytes.put_u16(u16::try_from(self.updates.len()).unwrap_or(0));
            for (_, update) in &self.updates {
                bytes.put_slice(update);
            }
        }
        bytes
    }
}

pub(crate) fn read(bytes: &[u8]) -> Result<Packet<'_>, WireError> {
    if bytes.len() > PACKET_MAX {
        return Err(WireError::Long);
    }
    let mut rest = bytes;
    let from = &mut rest;
    let version = get_u8(from)?;
    if version != VERSION {
        return Err(WireError::Unknown("version", version));
    }
    let packet = match get_u8(from)? {
        SWIM => Packet::Swim(read_swim(from)?),
        JOIN => Packet::Join(get_ident(from)?),
        HERE => Packet::Here(get_ident(from)?),
        WELCOME => Packet::Welcome { own: get_ident(from)?, known: read_known(from)? },
        STALE => Packet::Stale { incarnation: get_u64(from)?, is_down: get_u8(from)? != 0, by: get_address(from)? },
        NAME_TAKEN => Packet::NameTaken { at: get_address(from)? },
        other => return Err(WireError::Unknown("kind", other)),
    };
    if rest.is_empty() { Ok(packet) } else { Err(WireError::Long) }
}

fn read_swim<'a>(from: &mut &'a [u8]) -> Result<Swim<'a>, WireError> {
    let whole = *from;
    let header = get_header(from)?;
    let header_bytes = &whole[..whole.len() - from.len()];
    let has_updates = !from.is_empty();
    let mut updates = Vec::new();
    if has_updates {
        for _ in 0..get_u16(from)? {
            let before = *from;
            let member = get_member(from)?;
            updates.push((member, &before[..before.len() - from.len()]));
        }
    }
    Ok(Swim { header, updates, header_bytes, has_updates })
}

fn read_known(from: &mut &[u8]) -> Result<Vec<foca::Member<Ident>>, WireError> {
    let count = get_u16(from)?;
    (0..count).map(|_| get_member(from)).collect()
}

pub(crate) fn swim(data: &[u8]) -> Bytes {
    let mut bytes = begin(SWIM);
    bytes.put_slice(data);
    bytes.into()
}

pub(crate) fn join(own: &Ident) -> Bytes {
    let mut bytes = begin(JOIN);
    put_ident(own, &mut bytes);
    bytes.into()
}

pub(crate) fn here(own: &Ident) -> Bytes {
    let mut bytes = begin(HERE);
    put_ident(own, &mut bytes);
    bytes.into()
}

/// Members that have no place in a packet are left out, the last ones first.
pub(crate) fn welcome(own: &Ident, known: &[foca::Member<Ident>]) -> Bytes {
    let mut bytes = begin(WELCOME);
    put_ident(own, &mut bytes);
    let count_at = bytes.len();
    bytes.put_u16(0);
    let mut count: u16 = 0;
    for member in known {
        let before = bytes.len();
        put_member(member, &mut bytes);
        if bytes.len() > PACKET_MAX || count == u16::MAX {
            bytes.truncate(before);
            break;
        }
        count += 1;
    }
    bytes[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    bytes.into()
}

/// `by` is where the writer takes gossip: the reader may not know it yet.
pub(crate) fn stale(known: &foca::Member<Ident>, by: SocketAddr) -> Bytes {
    let mut bytes = begin(STALE);
    bytes.put_u64(known.id().incarnation());
    bytes.put_u8(u8::from(known.state() == State::Down));
    put_address(by, &mut bytes);
    bytes.into()
}

pub(crate) fn name_taken(at: SocketAddr) -> Bytes {
    let mut bytes = begin(NAME_TAKEN);
    put_address(at, &mut bytes);
    bytes.into()
}

fn begin(kind: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes
}
