//! The kernel's memory of connections: what it knows of an alloc's addresses goes with the alloc. Else packets that belong to no
//! connection (UDP) would be sent on to an address that nobody has, or somebody else.

use std::io;
use std::net::IpAddr;

use rustix::net::netlink::NETFILTER;

use crate::link::bytes_of;
use crate::netlink::{DUMP, Message, Socket, attributes};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ADDRESSES: u16 = 1;

/// Forgets all connections from or to these addresses.
pub(crate) fn forget(ips: &[IpAddr]) -> io::Result<()> {
    for (is_v4, family) in [(true, 2), (false, 10)] {
        let wanted: Vec<Vec<u8>> = ips.iter().filter(|ip| ip.is_ipv4() == is_v4).map(bytes_of).collect();
        if wanted.is_empty() {
            continue;
        }
        let mut socket = Socket::open(Some(NETFILTER))?;
        let mut found = Vec::new();
        socket.dump_as_it_comes(Message::new(GET, DUMP, &[family, 0, 0, 0]), |_, body| {
            let mut ways = attributes(body, 4).filter(|(kind, _)| matches!(*kind, ORIGINAL | REPLY));
            if ways.any(|(_, way)| has_one(way, &wanted)) {
                found.extend(attributes(body, 4).find(|(kind, _)| *kind == ORIGINAL).map(|(_, way)| way.to_vec()));
            }
        })?;
        for way in found {
            let mut message = Message::new(DELETE, 0, &[family, 0, 0, 0]);
            message.nest(ORIGINAL, |inner| {
                inner.raw(&way);
            });
            match socket.ask(message) {
                // It has ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

fn has_one(way: &[u8], wanted: &[Vec<u8>]) -> bool {
    let addresses = attributes(way, 0).find(|(kind, _)| *kind == ADDRESSES);
    addresses.is_some_and(|(_, inner)| attributes(inner, 0).any(|(_, ip)| wanted.iter().any(|wanted| wanted == ip)))
}
