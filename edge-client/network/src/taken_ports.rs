//! Whether a port of the host is held by another process, and by which.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its name.
    pub name: String,
    /// Its cgroups, as the kernel lists them.
    pub cgroups: String,
}

/// A port that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Address and port.
    pub at: SocketAddr,
    /// Who, where that can be found out.
    pub holder: Option<Holder>,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is held by ", self.at)?;
        match &self.holder {
            Some(holder) => write!(f, "process {} ({})", holder.pid, holder.name),
            None => write!(f, "another process"),
        }
    }
}

/// Finds out whether anybody listens there. `with_udp` asks for both protocols. An address that this host does not have is
/// held by nobody.
pub fn holder(ip: Option<IpAddr>, port: u16, with_udp: bool) -> Option<Taken> {
    let at = SocketAddr::new(ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
    let kinds = [(SocketType::STREAM, "tcp"), (SocketType::DGRAM, "udp")];
    let asked = &kinds[..if with_udp { 2 } else { 1 }];
    let (_, protocol) = asked.iter().find(|(kind, _)| try_to_hold(at, *kind) == Err(Errno::ADDRINUSE))?;
    Some(Taken { at, holder: find(protocol, port) })
}

fn try_to_hold(at: SocketAddr, kind: SocketType) -> Result<(), Errno> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    // What a connection that has ended leaves behind is nobody's.
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)
}

/// The process behind a local port, by the kernel's tables and the descriptors of all processes.
fn find(protocol: &str, port: u16) -> Option<Holder> {
    let tables = [format!("/proc/self/net/{protocol}"), format!("/proc/self/net/{protocol}6")];
    let lines: String = tables.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let inodes: Vec<String> = lines.lines().filter_map(|line| inode_of(line, protocol, port)).collect();
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let holds = |pid: &i32| -> io::Result<bool> {
        let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        Ok(descriptors.any(|fd| {
            fs::read_link(fd.path()).is_ok_and(|to| links.iter().any(|link| to.as_os_str() == link.as_str()))
        }))
    };
    let pid = pids.into_iter().find(|pid| holds(pid).unwrap_or(false))?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    Some(Holder { pid, name: read("comm").trim().to_owned(), cgroups: read("cgroup") })
}

/// The socket of a line of the kernel's table, if it waits at that port.
fn inode_of(line: &str, protocol: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let is_waiting = protocol == "udp" || fields.get(3) == Some(&"0A");
    let is_it = u16::from_str_radix(local, 16).ok()? == port && is_waiting;
    is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn who_listens_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let taken = holder(Some(at.ip()), at.port(), false).unwrap();
        assert_eq!(taken.holder.as_ref().unwrap().pid, std::process::id() as i32);
        assert!(taken.to_string().starts_with(&format!("{at} is held by process ")), "{taken}");
        // On all addresses too.
        assert!(holder(None, at.port(), false).is_some());
        drop(listener);
        assert_eq!(holder(Some(at.ip()), at.port(), false), None);
    }

    #[test]
    fn the_other_protocol_counts_when_asked_for() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = socket.local_addr().unwrap();
        assert_eq!(holder(Some(at.ip()), at.port(), false), None);
        assert!(holder(Some(at.ip()), at.port(), true).is_some());
    }

    #[test]
    fn an_address_of_somebody_else_is_free() {
        assert_eq!(holder(Some(IpAddr::from([192, 0, 2, 1])), 80, true), None);
    }
}
