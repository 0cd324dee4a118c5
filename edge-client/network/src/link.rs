//! Links, addresses and routes, in the network namespace of the calling thread.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use crate::netlink::{CREATE, DUMP, EXCLUSIVE, Message, Socket, attributes, text_of};
use crate::subnet::Subnet;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_PORT: u16 = 12;
const LINK_INFO: u16 = 18;
const LINK_ALIAS: u16 = 20;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const PORT_HAIRPIN: u16 = 4;

const FAMILY_V4: u8 = 2;
const FAMILY_BRIDGE: u8 = 7;
const FAMILY_V6: u8 = 10;
const UP: u32 = 1;
/// Nobody else can have an address that this host gave out.
const NO_DUPLICATE_CHECK: u32 = 2;
const MAIN_TABLE: u8 = 254;

/// A link, as far as anybody here wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Free text; drover writes there whose it is.
    pub(crate) alias: String,
    /// Its hardware address.
    pub(crate) hardware: Vec<u8>,
}

/// A line to the kernel's links.
#[derive(Debug)]
pub(crate) struct Links(Socket);

impl Links {
    pub(crate) fn open() -> io::Result<Links> {
        Ok(Links(Socket::open(None)?))
    }

    /// All links.
    pub(crate) fn all(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        self.0.dump(Message::new(GET_LINK, DUMP, &interface(0, 0, 0)), |_, body| {
            let Some(index) = body.get(4..).and_then(<[u8]>::first_chunk) else { return };
            let mut link = Link { index: u32::from_ne_bytes(*index), ..Link::default() };
            for (kind, value) in attributes(body, 16) {
                match kind {
                    LINK_NAME => link.name = text_of(value),
                    LINK_ALIAS => link.alias = text_of(value),
                    LINK_ADDRESS => link.hardware = value.to_vec(),
                    _ => {}
                }
            }
            links.push(link);
        })?;
        Ok(links)
    }

    /// The link of that name.
    pub(crate) fn find(&mut self, name: &str) -> io::Result<Option<Link>> {
        Ok(self.all()?.into_iter().find(|link| link.name == name))
    }

    pub(crate) fn add_bridge(&mut self, name: &str, hardware_address: [u8; 6]) -> io::Result<()> {
        let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &interface(0, 0, 0));
        // An address of its own: the bridge would else take that of its lowest port, and change it with the ports.
        message.text(LINK_NAME, name).attr(LINK_ADDRESS, &hardware_address).nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "bridge");
        });
        self.0.ask(message)
    }

    /// Two ends of a wire: `near` here, `far` in that namespace.
    pub(crate) fn add_wire(&mut self, near: &str, far: &str, namespace: &File) -> io::Result<()> {
        let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE, &interface(0, 0, 0));
        message.text(LINK_NAME, near).nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, |peer| {
                    peer.raw(&interface(0, 0, 0)).text(LINK_NAME, far);
                    peer.attr(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
                });
            });
        });
        self.0.ask(message)
    }

    /// Writes whose a link is.
    pub(crate) fn set_alias(&mut self, index: u32, alias: &str) -> io::Result<()> {
        let mut message = Message::new(SET_LINK, 0, &interface(0, index, 0));
        message.attr(LINK_ALIAS, alias.as_bytes());
        self.0.ask(message)
    }

    /// Puts a link on a bridge.
    pub(crate) fn set_master(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        let mut message = Message::new(SET_LINK, 0, &interface(0, index, 0));
        message.number(LINK_MASTER, bridge);
        self.0.ask(message)
    }

    /// What comes from a port of a bridge may go back by the same one.
    pub(crate) fn set_hairpin(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(SET_LINK, 0, &interface(FAMILY_BRIDGE, index, 0));
        message.nest(LINK_PORT, |port| {
            port.attr(PORT_HAIRPIN, &[1]);
        });
        self.0.ask(message)
    }

    pub(crate) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.0.ask(Message::new(NEW_LINK, 0, &interface(0, index, UP)))
    }

    pub(crate) fn delete(&mut self, index: u32) -> io::Result<()> {
        self.0.ask(Message::new(DELETE_LINK, 0, &interface(0, index, 0)))
    }

    pub(crate) fn add_address(&mut self, index: u32, ip: IpAddr, prefix: u8) -> io::Result<()> {
        let mut fixed = vec![family(&ip), prefix, 0, 0];
        fixed.extend_from_slice(&index.to_ne_bytes());
        let mut message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE, &fixed);
        let bytes = bytes_of(&ip);
        message.attr(2, &bytes).attr(1, &bytes);
        match (ip, Subnet::around(ip, prefix).network()) {
            (IpAddr::V4(_), IpAddr::V4(network)) if prefix < 31 => {
                let broadcast = u32::from(network) | u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
                message.attr(4, &broadcast.to_be_bytes());
            }
            _ => {
                message.number(8, NO_DUPLICATE_CHECK);
            }
        }
        match self.0.ask(message) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    pub(crate) fn add_default_route(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        let mut message =
            Message::new(NEW_ROUTE, CREATE, &[family(&gateway), 0, 0, 0, MAIN_TABLE, 4, 0, 1, 0, 0, 0, 0]);
        message.attr(5, &bytes_of(&gateway)).number(4, index);
        self.0.ask(message)
    }

    /// The addresses of links with their ranges.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<(u32, IpAddr, u8)>> {
        let mut found = Vec::new();
        self.0.dump(Message::new(GET_ADDRESS, DUMP, &[0; 8]), |_, body| {
            let (Some(prefix), Some(index)) = (body.get(1), body.get(4..).and_then(<[u8]>::first_chunk)) else {
                return;
            };
            let mut local = None;
            for (kind, value) in attributes(body, 8) {
                if kind == 2 || (kind == 1 && local.is_none()) {
                    local = ip_of(value);
                }
            }
            found.extend(local.map(|ip| (u32::from_ne_bytes(*index), ip, *prefix)));
        })?;
        Ok(found)
    }

    /// What is reached by which link, default routes aside.
    pub(crate) fn routes(&mut self) -> io::Result<Vec<(u32, Subnet)>> {
        let mut found = Vec::new();
        self.0.dump(Message::new(GET_ROUTE, DUMP, &[FAMILY_V4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), |_, body| {
            let Some(prefix) = body.get(1) else { return };
            let (mut to, mut link) = (None, 0);
            for (kind, value) in attributes(body, 12) {
                match kind {
                    1 => to = ip_of(value),
                    4 => link = value.first_chunk().map_or(0, |index| u32::from_ne_bytes(*index)),
                    _ => {}
                }
            }
            found.extend(to.map(|ip| (link, Subnet::around(ip, *prefix))));
        })?;
        Ok(found)
    }
}

fn interface(family: u8, index: u32, flags: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0] = family;
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..16].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn family(ip: &IpAddr) -> u8 {
    if ip.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 }
}

/// An address as it goes over the wire.
pub(crate) fn bytes_of(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}
