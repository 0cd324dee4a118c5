//! Ranges of addresses: which one a bridge gets, and which address an alloc. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Where a bridge's addresses come from unless the operator says so: the first that nothing on the host overlaps.
pub const DEFAULT_RANGE: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 26, 64, 0), 20);
/// The whole in which other agents of the host find theirs.
const DEFAULT_WHOLE: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 26, 0, 0), 16);
/// How many addresses are looked at for a free one.
const TRIES_MAX: u128 = 1 << 16;

/// Not a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct InvalidSubnet(pub String);

/// A range of addresses, all with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    first: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The range that has this address in it.
    pub fn around(ip: IpAddr, prefix: u8) -> Subnet {
        let bits = bits_of(&ip);
        let prefix = prefix.min(bits);
        Subnet { first: from_number(&ip, number_of(&ip) & mask(bits, prefix)), prefix }
    }

    /// How many bits are the same.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// True when both have an address in common.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        let shorter = self.prefix.min(other.prefix);
        self.first.is_ipv4() == other.first.is_ipv4()
            && Subnet::around(self.first, shorter) == Subnet::around(other.first, shorter)
    }

    /// True when the address is one of it.
    pub fn contains(&self, ip: &IpAddr) -> bool {
        self.overlaps(&Subnet::around(*ip, 128))
    }

    /// The address of the bridge itself.
    pub fn gateway(&self) -> IpAddr {
        from_number(&self.first, number_of(&self.first) + 1)
    }

    /// The first address of the range.
    pub fn network(&self) -> IpAddr {
        self.first
    }

    /// The next address after `last` that nobody has; addresses come round again as late as possible.
    pub fn next_free(&self, last: Option<IpAddr>, is_taken: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        let start = number_of(&self.first);
        let size = 1_u128.checked_shl(u32::from(bits_of(&self.first) - self.prefix)).unwrap_or(u128::MAX);
        // Neither the range itself, nor the bridge, nor the broadcast address.
        let usable = size.checked_sub(3).filter(|usable| *usable > 0)?;
        let from = last.map_or(0, |last| (number_of(&last).saturating_sub(start + 2) + 1) % usable);
        (0..usable.min(TRIES_MAX))
            .map(|step| from_number(&self.first, start + 2 + (from + step) % usable))
            .find(|ip| !is_taken(ip))
    }
}

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSubnet(text.to_owned());
        let (ip, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let ip: IpAddr = ip.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        if prefix > bits_of(&ip) { Err(invalid()) } else { Ok(Subnet::around(ip, prefix)) }
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The range of a bridge whose operator named none, beside what the host has already.
pub fn choose_default(on_host: &[Subnet]) -> Option<Subnet> {
    let (first, prefix) = DEFAULT_RANGE;
    let (whole, whole_prefix) = DEFAULT_WHOLE;
    let start = u32::from(whole);
    let others = (0..1_u32 << (prefix - whole_prefix)).map(|n| Ipv4Addr::from(start + (n << (32 - prefix))));
    std::iter::once(first)
        .chain(others)
        .map(|ip| Subnet::around(ip.into(), prefix))
        .find(|range| !on_host.iter().any(|other| other.overlaps(range)))
}

fn bits_of(ip: &IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn mask(bits: u8, prefix: u8) -> u128 {
    let all = if bits == 32 { u128::from(u32::MAX) } else { u128::MAX };
    all & !(all.checked_shr(u32::from(prefix)).unwrap_or(0))
}

fn number_of(ip: &IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(*ip)),
        IpAddr::V6(ip) => u128::from(*ip),
    }
}

fn from_number(like: &IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(number as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_read_and_compared() {
        assert_eq!(subnet("10.1.2.3/24").to_string(), "10.1.2.0/24");
        assert_eq!(subnet("fd00::5/64").gateway().to_string(), "fd00::1");
        assert!(subnet("10.0.0.0/8").overlaps(&subnet("10.9.0.0/16")));
        assert!(!subnet("10.0.0.0/16").overlaps(&subnet("10.1.0.0/16")));
        assert!(!subnet("0.0.0.0/0").overlaps(&subnet("::/0")));
        assert!(subnet("172.26.64.0/20").contains(&"172.26.79.255".parse().unwrap()));
        for wrong in ["abc", "10.0.0.0", "10.0.0.0/33", "/8", "::/129", "10.0.0.0/x"] {
            assert_eq!(wrong.parse::<Subnet>(), Err(InvalidSubnet(wrong.to_owned())));
        }
    }

    #[test]
    fn addresses_go_round() {
        let small = subnet("10.0.0.0/29");
        let take = |last: Option<&str>, taken: &[&str]| {
            let last = last.map(|last| last.parse().unwrap());
            small.next_free(last, |ip| taken.contains(&ip.to_string().as_str())).map(|ip| ip.to_string())
        };
        assert_eq!(take(None, &[]).as_deref(), Some("10.0.0.2"));
        assert_eq!(take(Some("10.0.0.2"), &[]).as_deref(), Some("10.0.0.3"));
        assert_eq!(take(Some("10.0.0.6"), &["10.0.0.2"]).as_deref(), Some("10.0.0.3"));
        assert_eq!(take(None, &["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]), None);
        assert_eq!(subnet("10.0.0.0/31").next_free(None, |_| false), None);
        assert_eq!(subnet("fd00::/64").next_free(None, |_| false).unwrap().to_string(), "fd00::2");
    }

    #[test]
    fn a_second_agent_finds_a_range_of_its_own() {
        assert_eq!(choose_default(&[]).unwrap().to_string(), "172.26.64.0/20");
        let first = subnet("172.26.64.0/20");
        assert_eq!(choose_default(&[first]).unwrap().to_string(), "172.26.0.0/20");
        assert_eq!(choose_default(&[subnet("172.26.0.0/16")]), None);
    }
}
