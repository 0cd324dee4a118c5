//! The rules of one bridge: who gets out, and which port of the host leads where.
//!
//! ```text
//! from elsewhere  --prerouting--+                                       (to an address of this host?)
//! from this host  --output------+--> ports: one rule per port and protocol --> the alloc's address
//! on the way out  --postrouting-->  out of the bridge's range, from 127.0.0.0/8, or back into the bridge: under the bridge's name
//! ```
//! An alloc that calls its own published port gets an answer because such a connection comes back under the bridge's address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::nft::{Family, Hook, Rule, Transaction};
use crate::subnet::Subnet;

/// How the name of each table begins; the node's id follows.
pub(crate) const TABLE_PREFIX: &str = "drover-";
/// The chain of published ports.
pub(crate) const PORTS: &str = "ports";
const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";
const MARTIANS: &str = "martians";
const PROTOCOLS: [u8; 2] = [6, 17];
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

/// A port of the host that leads to an alloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// The address of the host; none means all of them.
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) to: IpAddr,
    pub(crate) port: u16,
}

/// Puts all rules of a bridge in place at once. Ranges of both families may be given; ways go by that of their target.
pub(crate) fn write(table: &str, bridge: &str, ranges: &[Subnet], ways: &[Way]) -> io::Result<()> {
    for range in ranges {
        let family = family_of(&range.network());
        let ways = ways.iter().filter(|way| family_of(&way.to) == family);
        transaction(family, table, bridge, range, ways).commit()?;
    }
    Ok(())
}

/// Whether as many rules are there as [`write`] would put there: who loads rules of his own may have taken them away.
pub(crate) fn are_there(table: &str, bridge: &str, ranges: &[Subnet], ways: &[Way]) -> io::Result<bool> {
    for range in ranges {
        let family = family_of(&range.network());
        let ways = ways.iter().filter(|way| family_of(&way.to) == family);
        let mut found = 0;
        crate::nft::rules(family, Some(table), |_| found += 1)?;
        if found != transaction(family, table, bridge, range, ways).rule_count() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes them away; none there is no error.
pub(crate) fn delete(table: &str, has_v6: bool) -> io::Result<()> {
    Transaction::deleted(Family::V4, table).commit()?;
    if has_v6 {
        Transaction::deleted(Family::V6, table).commit()?;
    }
    Ok(())
}

fn family_of(ip: &IpAddr) -> Family {
    if ip.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// The addresses that stand for several.
fn several(family: Family) -> (IpAddr, u8) {
    match family {
        Family::V4 => (Ipv4Addr::new(224, 0, 0, 0).into(), 4),
        Family::V6 => (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8),
    }
}

fn transaction<'a>(
    family: Family,
    table: &str,
    bridge: &str,
    range: &Subnet,
    ways: impl Iterator<Item = &'a Way>,
) -> Transaction {
    let (network, prefix) = (range.network(), range.prefix());
    let mut all = Transaction::new(family, table);
    all.chain(PORTS, None);
    all.chain(PREROUTING, Some(Hook::prerouting()));
    all.chain(OUTPUT, Some(Hook::output()));
    all.chain(POSTROUTING, Some(Hook::postrouting()));
    for way in ways {
        for protocol in PROTOCOLS {
            let mut rule = Rule::new();
            if let Some(ip) = way.host_ip.filter(|ip| family_of(ip) == family) {
                rule = rule.at_address(family, &ip);
            } else if way.host_ip.is_some() {
                continue;
            }
            all.rule(PORTS, rule.protocol(protocol).at_port(way.host_port).send_to(family, &way.to, way.port));
        }
    }
    for chain in [PREROUTING, OUTPUT] {
        all.rule(chain, Rule::new().target_is_local().jump(PORTS));
    }
    // What goes to several at once has to keep its sender.
    let (many, many_prefix) = several(family);
    let out = Rule::new().source_in(family, &network, prefix).target_not_in(family, &network, prefix);
    all.rule(POSTROUTING, out.target_not_in(family, &many, many_prefix).not_out_by(bridge).masquerade());
    let back = Rule::new().out_by(bridge).source_in(family, &network, prefix).target_in(family, &network, prefix);
    all.rule(POSTROUTING, back.forwarded().masquerade());
    if family == Family::V4 {
        let (first, prefix) = (IpAddr::from(LOOPBACK.0), LOOPBACK.1);
        all.rule(POSTROUTING, Rule::new().out_by(bridge).source_in(family, &first, prefix).masquerade());
        // The bridge lets loopback addresses through for the rule above; an alloc has no business there.
        all.chain(MARTIANS, Some(Hook::raw_prerouting()));
        all.rule(MARTIANS, Rule::new().in_by(bridge).target_in(family, &first, prefix).drop());
    }
    all
}
