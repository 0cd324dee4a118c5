//! The bytes of identities and of foca's messages. Every foreign byte goes through here and is checked.
//!
//! Texts are a length of one byte and UTF-8, numbers are big-endian. An identity carries its own length: what a later version puts
//! behind the known fields is kept and handed on.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut};
use foca::{Header, Message, State};

use crate::ident::Ident;
use crate::member::{Member, MemberError, MemberStatus};

/// The most bytes of later versions' fields in an identity.
const EXTRA_MAX: usize = 128;

const LEAVING: u8 = 1;
const PRUNED: u8 = 2;
const BOOTSTRAPPED: u8 = 4;
const LEADER: u8 = 8;

/// Why bytes were not read, or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the packet ends too early")]
    Short,
    #[error("the packet goes on behind its end")]
    Long,
    #[error("a text is not UTF-8")]
    Text,
    #[error("unknown {0} {1}")]
    Unknown(&'static str, u8),
    #[error("an identity of {0} bytes")]
    Size(usize),
    #[error("not a member")]
    Member(#[from] MemberError),
    #[error("the packet is full")]
    Full,
}

pub(crate) fn put_ident(ident: &Ident, into: &mut Vec<u8>) {
    let member = &*ident.member;
    let start = into.len();
    into.put_u16(0);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    into.put_u8(
        flag(ident.is_leaving, LEAVING)
            | flag(ident.is_pruned, PRUNED)
            | flag(member.is_bootstrapped, BOOTSTRAPPED)
            | flag(member.is_leader, LEADER),
    );
    into.put_u64(member.incarnation);
    into.put_u32(member.bootstrap_expect);
    put_address(member.gossip, into);
    put_address(member.rpc, into);
    for text in [&member.name, &member.region, &member.datacenter, &member.id, &member.http, &member.version] {
        // Invariant: `Member::check` has bounded every text below 256 bytes before it becomes an identity.
        into.put_u8(u8::try_from(text.len()).unwrap_or(0));
        into.put_slice(text.as_bytes());
    }
    into.put_slice(&ident.extra);
    let len = u16::try_from(into.len() - start - 2).unwrap_or(0);
    into[start..start + 2].copy_from_slice(&len.to_be_bytes());
}

pub(crate) fn get_ident(from: &mut &[u8]) -> Result<Ident, WireError> {
    let len = usize::from(get_u16(from)?);
    let mut body = take(from, len)?;
    let from = &mut body;
    let flags = get_u8(from)?;
    let incarnation = get_u64(from)?;
    let bootstrap_expect = get_u32(from)?;
    let (gossip, rpc) = (get_address(from)?, get_address(from)?);
    let mut text = || get_text(from);
    let (name, region, datacenter, id, http, version) = (text()?, text()?, text()?, text()?, text()?, text()?);
    if from.len() > EXTRA_MAX {
        return Err(WireError::Size(len));
    }
    let (is_bootstrapped, is_leader) = (flags & BOOTSTRAPPED != 0, flags & LEADER != 0);
    let (is_leaving, is_pruned) = (flags & LEAVING != 0, flags & PRUNED != 0);
    if flags & !(LEAVING | PRUNED | BOOTSTRAPPED | LEADER) != 0 {
        return Err(WireError::Unknown("flags", flags));
    }
    let status = MemberStatus::Alive;
    let member = Member {
        name,
        region,
        datacenter,
        id,
        gossip,
        rpc,
        http,
        version,
        bootstrap_expect,
        is_bootstrapped,
        is_leader,
        incarnation,
        status,
    };
    member.check()?;
    Ok(Ident { is_leaving, is_pruned, extra: from.to_vec(), ..Ident::new(member) })
}

pub(crate) fn put_member(member: &foca::Member<Ident>, into: &mut Vec<u8>) {
    into.put_u8(match member.state() {
        State::Alive => 0,
        State::Suspect => 1,
        State::Down => 2,
    });
    into.put_u16(member.incarnation());
    put_ident(member.id(), into);
}

pub(crate) fn get_member(from: &mut &[u8]) -> Result<foca::Member<Ident>, WireError> {
    let state = match get_u8(from)? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        other => return Err(WireError::Unknown("state", other)),
    };
    let incarnation = get_u16(from)?;
    Ok(foca::Member::new(get_ident(from)?, incarnation, state))
}

fn put_header(header: &Header<Ident>, into: &mut Vec<u8>) {
    put_ident(&header.src, into);
    into.put_u16(header.src_incarnation);
    put_ident(&header.dst, into);
    let (kind, number, other) = match &header.message {
        Message::Ping(number) => (1, *number, None),
        Message::Ack(number) => (2, *number, None),
        Message::PingReq { target, probe_number } => (3, *probe_number, Some(target)),
        Message::IndirectPing { origin, probe_number } => (4, *probe_number, Some(origin)),
        Message::IndirectAck { target, probe_number } => (5, *probe_number, Some(target)),
        Message::ForwardedAck { origin, probe_number } => (6, *probe_number, Some(origin)),
        Message::Gossip => (7, 0, None),
        Message::TurnUndead => (8, 0, None),
        // Joining is ours (`packet.rs`), and there are no broadcasts beside members: none of these is ever sent.
        Message::Announce | Message::Feed | Message::Broadcast => (0, 0, None),
    };
    into.put_u8(kind);
    into.put_u8(number);
    if let Some(ident) = other {
        put_ident(ident, into);
    }
}

pub(crate) fn get_header(from: &mut &[u8]) -> Result<Header<Ident>, WireError> {
    let src = get_ident(from)?;
    let src_incarnation = get_u16(from)?;
    let dst = get_ident(from)?;
    let (kind, probe_number) = (get_u8(from)?, get_u8(from)?);
    let message = match kind {
        1 => Message::Ping(probe_number),
        2 => Message::Ack(probe_number),
        3 => Message::PingReq { target: get_ident(from)?, probe_number },
        4 => Message::IndirectPing { origin: get_ident(from)?, probe_number },
        5 => Message::IndirectAck { target: get_ident(from)?, probe_number },
        6 => Message::ForwardedAck { origin: get_ident(from)?, probe_number },
        7 => Message::Gossip,
        8 => Message::TurnUndead,
        other => return Err(WireError::Unknown("message", other)),
    };
    Ok(Header { src, src_incarnation, dst, message })
}

/// The codec as foca wants it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire;

impl foca::Codec<Ident> for Wire {
    type Error = WireError;

    fn encode_header(&mut self, header: &Header<Ident>, into: impl BufMut) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(512);
        put_header(header, &mut bytes);
        put_all(&bytes, into)
    }

    fn decode_header(&mut self, mut from: impl Buf) -> Result<Header<Ident>, WireError> {
        decode(&mut from, get_header)
    }

    fn encode_member(&mut self, member: &foca::Member<Ident>, into: impl BufMut) -> Result<(), WireError> {
        let mut bytes = Vec::with_capacity(256);
        put_member(member, &mut bytes);
        put_all(&bytes, into)
    }

    fn decode_member(&mut self, mut from: impl Buf) -> Result<foca::Member<Ident>, WireError> {
        decode(&mut from, get_member)
    }
}

fn decode<T>(from: &mut impl Buf, get: fn(&mut &[u8]) -> Result<T, WireError>) -> Result<T, WireError> {
    let whole = from.chunk();
    let mut rest = whole;
    let value = get(&mut rest)?;
    let read = whole.len() - rest.len();
    from.advance(read);
    Ok(value)
}

fn put_all(bytes: &[u8], mut into: impl BufMut) -> Result<(), WireError> {
    if into.remaining_mut() < bytes.len() {
        return Err(WireError::Full);
    }
    into.put_slice(bytes);
    Ok(())
}

pub(crate) fn put_address(address: SocketAddr, into: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            into.put_u8(4);
            into.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            into.put_u8(6);
            into.put_slice(&ip.octets());
        }
    }
    into.put_u16(address.port());
}

pub(crate) fn get_address(from: &mut &[u8]) -> Result<SocketAddr, WireError> {
    let ip: IpAddr = match get_u8(from)? {
        4 => array::<4>(from)?.into(),
        6 => array::<16>(from)?.into(),
        other => return Err(WireError::Unknown("kind of address", other)),
    };
    Ok(SocketAddr::new(ip, get_u16(from)?))
}

fn get_text(from: &mut &[u8]) -> Result<String, WireError> {
    let len = usize::from(get_u8(from)?);
    let bytes = take(from, len)?;
    Ok(std::str::from_utf8(bytes).map_err(|_| WireError::Text)?.to_owned())
}

pub(crate) fn get_u8(from: &mut &[u8]) -> Result<u8, WireError> {
    Ok(array::<1>(from)?[0])
}

pub(crate) fn get_u16(from: &mut &[u8]) -> Result<u16, WireError> {
    Ok(u16::from_be_bytes(array(from)?))
}

fn get_u32(from: &mut &[u8]) -> Result<u32, WireError> {
    Ok(u32::from_be_bytes(array(from)?))
}

pub(crate) fn get_u64(from: &mut &[u8]) -> Result<u64, WireError> {
    Ok(u64::from_be_bytes(array(from)?))
}

fn array<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (head, rest) = from.split_first_chunk::<N>().ok_or(WireError::Short)?;
    *from = rest;
    Ok(*head)
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> Result<&'a [u8], WireError> {
    let (head, rest) = from.split_at_checked(len).ok_or(WireError::Short)?;
    *from = rest;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::member;

    fn round_trip(ident: &Ident) -> Ident {
        let mut bytes = Vec::new();
        put_ident(ident, &mut bytes);
        let mut rest = &bytes[..];
        let read = get_ident(&mut rest).unwrap();
        assert!(rest.is_empty());
        read
    }

    #[test]
    fn an_identity_reads_back_whole() {
        let mut ident = Ident::new(Member {
            gossip: "[fd00::1]:4648".parse().unwrap(),
            is_bootstrapped: true,
            is_leader: true,
            http: String::new(),
            ..member("s1", "west")
        });
        assert_eq!(round_trip(&ident), ident);
        // Fields of a later version come through this one.
        ident.extra = vec![7; EXTRA_MAX];
        ident.is_leaving = true;
        ident.is_pruned = true;
        assert_eq!(round_trip(&ident), ident);
    }

    #[test]
    fn an_identity_cut_short_anywhere_is_refused() {
        let mut bytes = Vec::new();
        put_ident(&Ident::new(member("s1", "west")), &mut bytes);
        for len in 0..bytes.len() {
            assert!(get_ident(&mut &bytes[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn members_that_nobody_could_reach_or_print_are_refused() {
        let good = member("s1", "west");
        let bad = [
            Member { name: String::new(), ..good.clone() },
            Member { name: "a\nb".into(), ..good.clone() },
            Member { name: "n".repeat(129), ..good.clone() },
            Member { region: "West".into(), ..good.clone() },
            Member { region: "a.b".into(), ..good.clone() },
            Member { gossip: "0.0.0.0:1".parse().unwrap(), ..good.clone() },
            Member { gossip: "127.0.0.1:0".parse().unwrap(), ..good.clone() },
            Member { rpc: "224.0.0.1:9".parse().unwrap(), ..good.clone() },
            Member { incarnation: u64::MAX, ..good.clone() },
        ];
        for member in bad {
            let mut bytes = Vec::new();
            put_ident(&Ident::new(member.clone()), &mut bytes);
            assert!(get_ident(&mut &bytes[..]).is_err(), "{member:?}");
        }
    }
}
