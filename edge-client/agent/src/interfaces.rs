//! The network interfaces of this machine and their addresses.

use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub interface: String,
    /// The address.
    pub ip: IpAddr,
}

/// All addresses of interfaces that are up. Link-local IPv6 addresses are left out: they mean nothing without a zone.
pub fn addresses() -> Vec<InterfaceAddress> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the call sets `list` to a list of its own making, which is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut next = list;
    // SAFETY: `next` is null or an entry of the list, which lives until `freeifaddrs`.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        let is_up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
        if entry.ifa_name.is_null() || entry.ifa_addr.is_null() || !is_up {
            continue;
        }
        // SAFETY: a name of the list is a C string.
        let interface = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        if let Some(ip) = ip_of(entry.ifa_addr).filter(is_usable) {
            found.push(InterfaceAddress { interface, ip });
        }
    }
    // SAFETY: the list came from `getifaddrs` and nothing refers into it any more.
    unsafe { libc::freeifaddrs(list) };
    found
}

fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: the caller passes the non-null address of an entry; its family says which of the two types it has.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = &*address.cast::<libc::sockaddr_in>();
                Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let v6 = &*address.cast::<libc::sockaddr_in6>();
                Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// The interface of the default route.
pub fn default_interface() -> Option<String> {
    let routes = std::fs::read_to_string("/proc/net/route").ok()?;
    default_of(&routes)
}

fn default_of(routes: &str) -> Option<String> {
    let lines = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defaults = lines.filter(|fields| fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000"));
    let best = defaults
        .min_by_key(|fields| fields.get(6).and_then(|metric| metric.parse::<u64>().ok()).unwrap_or(u64::MAX))?;
    best.first().map(|name| (*name).to_owned())
}

/// The hardware address of an interface; empty where it has none.
pub fn mac_address(interface: &str) -> String {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/address")).unwrap_or_default();
    let mac = text.trim();
    if mac == "00:00:00:00:00:00" { String::new() } else { mac.to_owned() }
}

/// Mbit/s of an interface; 1000 where the kernel does not say.
pub fn speed_mbits(interface: &str) -> i64 {
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).unwrap_or_default();
    text.trim().parse().ok().filter(|speed| *speed > 0).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found() {
        let loopback = addresses().into_iter().find(|address| address.ip == IpAddr::from([127, 0, 0, 1]));
        assert_eq!(loopback.map(|address| address.interface), Some("lo".to_owned()));
    }

    #[test]
    fn the_default_route_with_the_lowest_metric_counts() {
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\n\
            eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(default_of(routes), Some("eth0".to_owned()));
        assert_eq!(default_of("Iface\n"), None);
    }
}
