//! The bridge of a node: made when the first alloc needs it, gone with the last one. Its hardware address says whose it is.

use std::fs::{File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::link::{Link, Links};
use crate::networks::{NetworkError, Settings};
use crate::subnet::{Subnet, choose_default};

/// Agents of one host choose their ranges one after another.
const LOCK_DIR: &str = "/run/drover";
const LOCK_FILE: &str = "networks.lock";

/// A bridge that is up.
#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) ranges: Vec<Subnet>,
}

/// The bridge's name: the operator's, or one with the first digits of the node's id.
pub(crate) fn name_of(settings: &Settings) -> String {
    match &settings.bridge_name {
        Some(name) => name.clone(),
        None => format!("drover-{}", settings.node_id.get(..8).unwrap_or(&settings.node_id)),
    }
}

/// The text by which people see whose a link is.
pub(crate) fn mark_of(node_id: &str) -> String {
    format!("drover {node_id}")
}

/// Finds the bridge, if it is there and this node's.
pub(crate) fn find(settings: &Settings, links: &mut Links) -> Result<Option<Link>, NetworkError> {
    let name = name_of(settings);
    let failed = |source| NetworkError::Kernel { what: "look for the bridge", source };
    let Some(link) = links.find(&name).map_err(failed)? else { return Ok(None) };
    if link.hardware == hardware_address(&settings.node_id) {
        return Ok(Some(link));
    }
    Err(NetworkError::ForeignBridge { name })
}

/// Finds the bridge or makes it, and has it ready.
pub(crate) fn ensure(settings: &Settings, links: &mut Links) -> Result<Bridge, NetworkError> {
    let _lock = lock().map_err(|source| NetworkError::File {
        what: "lock",
        path: Path::new(LOCK_DIR).join(LOCK_FILE),
        source,
    })?;
    let failed = |what| move |source| NetworkError::Kernel { what, source };
    let name = name_of(settings);
    let link = match find(settings, links)? {
        Some(link) => link,
        None => {
            links.add_bridge(&name, hardware_address(&settings.node_id)).map_err(failed("make the bridge"))?;
            find(settings, links)?.ok_or(NetworkError::ForeignBridge { name: name.clone() })?
        }
    };
    let ranges = ranges(settings, links, link.index)?;
    links.set_alias(link.index, &mark_of(&settings.node_id)).map_err(failed("mark the bridge"))?;
    for range in &ranges {
        links
            .add_address(link.index, range.gateway(), range.prefix())
            .map_err(failed("give the bridge its address"))?;
    }
    links.set_up(link.index).map_err(failed("start the bridge"))?;
    settle(&name, ranges.iter().any(|range| range.network().is_ipv6()))?;
    Ok(Bridge { index: link.index, name, ranges })
}

/// The ranges of the bridge: what it has, or what it is to get.
fn ranges(settings: &Settings, links: &mut Links, index: u32) -> Result<Vec<Subnet>, NetworkError> {
    let failed = |source| NetworkError::Kernel { what: "read the host's addresses", source };
    let addresses = links.addresses().map_err(failed)?;
    let has = addresses.iter().find(|(link, ip, _)| *link == index && ip.is_ipv4());
    let mut on_host: Vec<Subnet> = addresses
        .iter()
        .filter(|(link, ..)| *link != index)
        .map(|(_, ip, prefix)| Subnet::around(*ip, *prefix))
        .collect();
    let routes = links.routes().map_err(failed)?;
    on_host.extend(routes.iter().filter(|(link, to)| *link != index && to.prefix() > 0).map(|(_, to)| *to));
    let v4 = match (has, settings.range) {
        (Some((_, ip, prefix)), _) => Subnet::around(*ip, *prefix),
        (None, Some(range)) => range,
        (None, None) => choose_default(&on_host).ok_or(NetworkError::NoRange)?,
    };
    let ranges: Vec<Subnet> = std::iter::once(v4).chain(settings.range_v6).collect();
    match ranges.iter().find(|range| on_host.iter().any(|other| other.overlaps(range))) {
        Some(range) => Err(NetworkError::RangeInUse { range: *range }),
        None => Ok(ranges),
    }
}

/// What the kernel must allow.
pub(crate) fn settle(bridge: &str, has_v6: bool) -> Result<(), NetworkError> {
    let set = |path: String| {
        // Not written where it stands already: it may be read-only there.
        if std::fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
            return Ok(());
        }
        std::fs::write(&path, "1").map_err(|source| NetworkError::File { what: "write", path: path.into(), source })
    };
    set("/proc/sys/net/ipv4/ip_forward".to_owned())?;
    // 127.0.0.1 and a published port: the packet leaves by the bridge.
    set(format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet"))?;
    if has_v6 {
        set("/proc/sys/net/ipv6/conf/all/forwarding".to_owned())?;
    }
    Ok(())
}

/// The kernel changes destinations on the bridge itself here: a connection of an alloc to its own port then has to go back by
/// the port that it came from.
pub(crate) fn shows_bridged_packets() -> bool {
    let is_on = |path: &str| std::fs::read_to_string(path).is_ok_and(|value| value.trim() == "1");
    is_on("/proc/sys/net/bridge/bridge-nf-call-iptables") || is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
}

fn lock() -> io::Result<File> {
    let path: PathBuf = Path::new(LOCK_DIR).join(LOCK_FILE);
    std::fs::create_dir_all(LOCK_DIR)?;
    // For root alone: whoever can open it can hold it.
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// A hardware address of the kind that anybody may give, from the node's id.
pub(crate) fn hardware_address(node_id: &str) -> [u8; 6] {
    let digits: Vec<u8> =
        node_id.chars().filter_map(|digit| digit.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok()).collect();
    let mut address = [2; 6];
    for (byte, pair) in address.iter_mut().skip(1).zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    address
}

/// The address of that family, among several.
pub(crate) fn of_family(ips: &[IpAddr], is_v4: bool) -> Option<IpAddr> {
    ips.iter().find(|ip| ip.is_ipv4() == is_v4).copied()
}
