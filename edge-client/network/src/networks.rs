//! The networks of a node's allocs: made, found again, put right and removed.
//!
//! What stands is read from the kernel: a namespace is a file of the node's folder, and the wire of an alloc has the alloc's
//! id and addresses written on it. So an agent that was killed at any point finds what it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bridge::{self, Bridge};
use crate::conntrack;
use crate::link::{Link, Links};
use crate::namespace;
use crate::rules::{self, Way};
use crate::subnet::Subnet;

/// The link inside.
const INSIDE: &str = "eth0";
/// The longest id of an alloc.
const ALLOC_BYTES_MAX: usize = 64;

/// How a node's networks are to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node's id; everything in the kernel carries it.
    pub node_id: String,
    /// The folder of the namespaces.
    pub dir: PathBuf,
    /// The bridge; none means `drover-` and the first eight digits of the node's id.
    pub bridge_name: Option<String>,
    /// IPv4 addresses of allocs; none means the first range that is free on the host, beginning with [`crate::DEFAULT_RANGE`].
    pub range: Option<Subnet>,
    /// IPv6 addresses of allocs; none means that they have none.
    pub range_v6: Option<Subnet>,
    /// What comes from a port of the bridge may go back by the same one.
    pub is_hairpin: bool,
}

/// What kind of network an alloc has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Loopback and nothing else (`none`).
    Alone,
    /// A wire to the bridge.
    Bridge,
}

/// A port of the host that leads to an alloc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The address of the host; none means every one, loopback included.
    pub host_ip: Option<IpAddr>,
    /// The port there.
    pub host_port: u16,
    /// The port inside.
    pub port: u16,
}

/// What an alloc wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub alloc: String,
    /// The kind.
    pub mode: Mode,
    /// Its ports.
    pub forwards: Vec<Forward>,
}

/// What an alloc has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The file that its tasks enter the namespace by.
    pub namespace: PathBuf,
    /// The link inside; empty when there is none but loopback.
    pub interface: String,
    /// Its addresses, IPv4 first.
    pub ips: Vec<IpAddr>,
}

/// Why an alloc has no network.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum NetworkError {
    #[error("{what}")]
    Kernel {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{what} {path}", path = path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("bridge {name} is there already and belongs to somebody else")]
    ForeignBridge { name: String },
    #[error("range {range} of the bridge overlaps with another network of this host")]
    RangeInUse { range: Subnet },
    #[error("no range of addresses is left for the bridge on this host, bridge_network_subnet can name one")]
    NoRange,
    #[error("no address is left in {range}")]
    RangeFull { range: Subnet },
    #[error("{alloc:?} can't be the id of an alloc")]
    Name { alloc: String },
}

impl NetworkError {
    /// The text with that of what is behind it.
    pub fn full_text(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    mode: Mode,
    forwards: Vec<Forward>,
    ips: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<String, Member>,
    bridge: Option<Bridge>,
    last: Vec<IpAddr>,
}

/// The networks of one node. All calls block, for a few milliseconds; one does its work at a time.
#[derive(Debug)]
pub struct Networks {
    settings: Settings,
    state: Mutex<State>,
}

impl Networks {
    /// Does nothing yet.
    pub fn new(settings: Settings) -> Networks {
        Networks { settings, state: Mutex::default() }
    }

    /// Gives an alloc its network, or finds that it has it. When it fails nothing of it is left.
    ///
    /// # Errors
    /// The kernel does not do it, or there is no room.
    pub fn connect(&self, request: &Request) -> Result<Connected, NetworkError> {
        let mut state = self.lock();
        let path = self.path(&request.alloc)?;
        if !state.members.contains_key(&request.alloc) {
            // A life before this one may have made it.
            self.take_over(&mut state, request)?;
        }
        if let Some(member) = state.members.get_mut(&request.alloc)
            && member.mode == request.mode
            && namespace::is_kept(&path)
        {
            let has_changed = member.forwards != request.forwards;
            member.forwards.clone_from(&request.forwards);
            let ips = member.ips.clone();
            if has_changed {
                self.write_rules(&mut state)?;
            }
            return Ok(self.connected(path, request.mode, ips));
        }
        state.members.remove(&request.alloc);
        self.clear(&request.alloc)?;
        let made = match request.mode {
            Mode::Alone => namespace::make(&path, start_loopback).map(|()| Vec::new()).map_err(|source| {
                NetworkError::File { what: "make the network namespace", path: path.clone(), source }
            }),
            Mode::Bridge => self.wire(&mut state, request),
        };
        if let Err(error) = made {
            state.members.remove(&request.alloc);
            // What could not be made may be hard to take away; the reason is the first error.
            let _ = self.clear(&request.alloc).and_then(|()| self.drop_unused(&mut state));
            return Err(error);
        }
        let ips = made?;
        let member = Member { mode: request.mode, forwards: request.forwards.clone(), ips: ips.clone() };
        state.members.insert(request.alloc.clone(), member);
        if request.mode == Mode::Bridge
            && let Err(error) = self.write_rules(&mut state)
        {
            state.members.remove(&request.alloc);
            let _ = self.clear(&request.alloc).and_then(|()| self.drop_unused(&mut state));
            return Err(error);
        }
        Ok(self.connected(path, request.mode, ips))
    }

    /// What an alloc has that was connected or adopted.
    pub fn find(&self, alloc: &str) -> Option<Connected> {
        let member = self.lock().members.get(alloc)?.clone();
        Some(self.connected(self.path(alloc).ok()?, member.mode, member.ips))
    }

    /// True when the alloc has its network, whoever made it.
    pub fn is_connected(&self, alloc: &str) -> bool {
        self.path(alloc).is_ok_and(|path| namespace::is_kept(&path))
    }

    /// Takes up the networks of these allocs that an earlier agent has made, with all rules at once. One that is not there any
    /// more is made when [`Networks::connect`] asks for it.
    ///
    /// # Errors
    /// The kernel does not say what there is, or takes no rules.
    pub fn adopt(&self, requests: &[Request]) -> Result<(), NetworkError> {
        let mut state = self.lock();
        let mut links = self.links()?;
        let wires = self.wires(&mut links)?;
        for request in requests {
            if namespace::is_kept(&self.path(&request.alloc)?) {
                self.note(&mut state, request, &wires);
            }
        }
        if state.members.values().any(|member| member.mode == Mode::Bridge) {
            self.write_rules(&mut state)?;
        }
        Ok(())
    }

    /// Removes the network of an alloc; none there is no error.
    ///
    /// # Errors
    /// Something of it is still there.
    pub fn release(&self, alloc: &str) -> Result<(), NetworkError> {
        let mut state = self.lock();
        self.path(alloc)?;
        let Some(was) = state.members.remove(alloc) else {
            self.clear(alloc)?;
            return self.drop_unused(&mut state);
        };
        let released = self.release_member(&mut state, alloc, &was);
        if released.is_err() {
            // For the next try: its rules and connections would stay else, and lead to whoever gets its address.
            state.members.insert(alloc.to_owned(), was);
        }
        released
    }

    fn release_member(&self, state: &mut State, alloc: &str, was: &Member) -> Result<(), NetworkError> {
        let is_bridged = |member: &Member| member.mode == Mode::Bridge;
        if is_bridged(was) && !was.forwards.is_empty() && state.members.values().any(is_bridged) {
            self.write_rules(state)?;
        }
        self.clear(alloc)?;
        self.drop_unused(state)?;
        conntrack::forget(&was.ips)
            .map_err(|source| NetworkError::Kernel { what: "forget the alloc's connections", source })
    }

    /// Removes everything of this node but the networks of these allocs.
    ///
    /// # Errors
    /// Something is still there.
    pub fn keep_only(&self, allocs: &BTreeSet<String>) -> Result<(), NetworkError> {
        let mut gone: BTreeSet<String> = self.kept()?;
        if rustix::process::geteuid().is_root() {
            gone.extend(self.wires(&mut self.links()?)?.into_iter().map(|(_, wire)| wire.alloc));
        } else if gone.is_empty() {
            return Ok(());
        }
        for alloc in gone.difference(allocs) {
            self.release(alloc)?;
        }
        self.drop_unused(&mut self.lock())
    }

    /// Looks whether bridge and rules are there as they were made, and makes them anew where they are not: true when they were not.
    ///
    /// # Errors
    /// The kernel does not say what there is, or does not take it.
    pub fn put_right(&self) -> Result<bool, NetworkError> {
        self.restore(&mut self.lock())
    }

    /// Removes bridge and rules if nothing needs them.
    ///
    /// # Errors
    /// They are still there.
    pub fn tidy(&self) -> Result<(), NetworkError> {
        self.drop_unused(&mut self.lock())
    }

    /// The allocs that have a namespace in the node's folder.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn kept(&self) -> Result<BTreeSet<String>, NetworkError> {
        let entries = match fs::read_dir(&self.settings.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            other => {
                other.map_err(|source| NetworkError::File { what: "read", path: self.settings.dir.clone(), source })?
            }
        };
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// The name of the bridge.
    pub fn bridge_name(&self) -> String {
        bridge::name_of(&self.settings)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> Result<Links, NetworkError> {
        Links::open().map_err(|source| NetworkError::Kernel { what: "speak to the kernel's network", source })
    }

    fn path(&self, alloc: &str) -> Result<PathBuf, NetworkError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if alloc.is_empty() || alloc.len() > ALLOC_BYTES_MAX || !alloc.bytes().all(fits) {
            return Err(NetworkError::Name { alloc: alloc.to_owned() });
        }
        Ok(self.settings.dir.join(alloc))
    }

    fn connected(&self, namespace: PathBuf, mode: Mode, ips: Vec<IpAddr>) -> Connected {
        let interface = if mode == Mode::Bridge { INSIDE.to_owned() } else { String::new() };
        Connected { namespace, interface, ips }
    }

    fn take_over(&self, state: &mut State, request: &Request) -> Result<(), NetworkError> {
        if !namespace::is_kept(&self.path(&request.alloc)?) {
            return Ok(());
        }
        let wires = self.wires(&mut self.links()?)?;
        self.note(state, request, &wires);
        if request.mode == Mode::Bridge && state.members.contains_key(&request.alloc) {
            self.write_rules(state)?;
        }
        Ok(())
    }

    /// Takes note of a network that is kept. A wire without addresses on it was never finished.
    fn note(&self, state: &mut State, request: &Request, wires: &[(Link, Wire)]) {
        let wire = wires.iter().map(|(_, wire)| wire).find(|wire| wire.alloc == request.alloc);
        let ips = match (request.mode, wire) {
            (Mode::Alone, None) => Vec::new(),
            (Mode::Bridge, Some(wire)) if !wire.ips.is_empty() => wire.ips.clone(),
            _ => return,
        };
        let member = Member { mode: request.mode, forwards: request.forwards.clone(), ips };
        state.members.insert(request.alloc.clone(), member);
    }

    /// The wires of this node.
    fn wires(&self, links: &mut Links) -> Result<Vec<(Link, Wire)>, NetworkError> {
        let all = links.all().map_err(|source| NetworkError::Kernel { what: "list the links", source })?;
        let ours = |link: Link| Wire::read(&link.alias, &self.settings.node_id).map(|wire| (link, wire));
        Ok(all.into_iter().filter_map(ours).collect())
    }

    fn wire(&self, state: &mut State, request: &Request) -> Result<Vec<IpAddr>, NetworkError> {
        let failed = |what| move |source| NetworkError::Kernel { what, source };
        let mut links = self.links()?;
        let is_new = bridge::find(&self.settings, &mut links)?.is_none();
        let bridge = bridge::ensure(&self.settings, &mut links)?;
        let wires = self.wires(&mut links)?;
        if is_new {
            for (link, _) in &wires {
                links.set_master(link.index, bridge.index).map_err(failed("put a wire on the bridge"))?;
            }
        }
        let ips = self.choose(state, &bridge, &wires)?;
        let path = self.path(&request.alloc)?;
        let keep = |source| NetworkError::File { what: "make the network namespace", path: path.clone(), source };
        namespace::make(&path, start_loopback).map_err(keep)?;
        let inside = File::open(&path).map_err(keep)?;
        let name = wire_name(&request.alloc);
        links.add_wire(&name, INSIDE, &inside).map_err(failed("make the wire of the alloc"))?;
        let link = links.find(&name).map_err(failed("find the wire of the alloc"))?;
        let index = link.ok_or_else(|| failed("find the wire of the alloc")(io::ErrorKind::NotFound.into()))?.index;
        links.set_master(index, bridge.index).map_err(failed("put the wire on the bridge"))?;
        if self.settings.is_hairpin || bridge::shows_bridged_packets() {
            links.set_hairpin(index).map_err(failed("let the wire carry back what it brought"))?;
        }
        links.set_up(index).map_err(failed("start the wire"))?;
        namespace::enter(&inside, || start_inside(&bridge, &ips))
            .map_err(failed("set up the alloc's end of the wire"))?;
        // Last: a wire with this on it is complete.
        let mark = Wire { alloc: request.alloc.clone(), ips: ips.clone() }.write(&self.settings.node_id);
        links.set_alias(index, &mark).map_err(failed("mark the wire"))?;
        state.bridge = Some(bridge);
        Ok(ips)
    }

    fn choose(&self, state: &mut State, bridge: &Bridge, wires: &[(Link, Wire)]) -> Result<Vec<IpAddr>, NetworkError> {
        let taken: BTreeSet<IpAddr> = wires.iter().flat_map(|(_, wire)| wire.ips.iter().copied()).collect();
        let mut ips = Vec::new();
        for range in &bridge.ranges {
            let last = bridge::of_family(&state.last, range.network().is_ipv4()).filter(|last| range.contains(last));
            let ip = range.next_free(last, |ip| taken.contains(ip));
            ips.push(ip.ok_or(NetworkError::RangeFull { range: *range })?);
        }
        state.last.clone_from(&ips);
        Ok(ips)
    }

    fn write_rules(&self, state: &mut State) -> Result<(), NetworkError> {
        let bridge = match &state.bridge {
            Some(bridge) => bridge.clone(),
            None => bridge::ensure(&self.settings, &mut self.links()?)?,
        };
        let failed = |source| NetworkError::Kernel { what: "write the rules of nf_tables", source };
        rules::write(&self.table(), &bridge.name, &bridge.ranges, &ways(state)).map_err(failed)?;
        state.bridge = Some(bridge);
        Ok(())
    }

    /// Puts right what somebody else has taken away of bridge and rules: true when there was something.
    fn restore(&self, state: &mut State) -> Result<bool, NetworkError> {
        let failed = |what| move |source| NetworkError::Kernel { what, source };
        if !state.members.values().any(|member| member.mode == Mode::Bridge) {
            return Ok(false);
        }
        let mut links = self.links()?;
        let is_there = bridge::find(&self.settings, &mut links)?.is_some();
        if !is_there {
            state.bridge = None;
            let bridge = bridge::ensure(&self.settings, &mut links)?;
            for (link, _) in &self.wires(&mut links)? {
                links.set_master(link.index, bridge.index).map_err(failed("put a wire on the bridge"))?;
            }
            state.bridge = Some(bridge);
        }
        if let Some(bridge) = state.bridge.as_ref().filter(|_| is_there) {
            let are_there = rules::are_there(&self.table(), &bridge.name, &bridge.ranges, &ways(state));
            if are_there.map_err(failed("read the rules of nf_tables"))? {
                return Ok(false);
            }
        }
        self.write_rules(state).map(|()| true)
    }

    fn table(&self) -> String {
        format!("{}{}", rules::TABLE_PREFIX, self.settings.node_id)
    }

    /// Takes namespace and wire of an alloc away.
    fn clear(&self, alloc: &str) -> Result<(), NetworkError> {
        let path = self.path(alloc)?;
        // The kernel takes its time with a namespace that nobody holds; the wire's name is needed at once.
        if namespace::is_kept(&path) || path.exists() {
            let mut links = self.links()?;
            let failed = |source| NetworkError::Kernel { what: "remove the wire of the alloc", source };
            let prefix = bridge::mark_of(&self.settings.node_id);
            let is_ours = |link: &Link| link.alias.is_empty() || link.alias.starts_with(&prefix);
            if let Some(link) = links.find(&wire_name(alloc)).map_err(failed)?.filter(is_ours) {
                links.delete(link.index).or_else(gone_is_fine).map_err(failed)?;
            }
        }
        namespace::release(&path).map_err(|source| NetworkError::File { what: "remove", path, source })
    }

    /// The bridge and the rules go with the last wire.
    fn drop_unused(&self, state: &mut State) -> Result<(), NetworkError> {
        if state.members.values().any(|member| member.mode == Mode::Bridge) {
            return Ok(());
        }
        let mut links = self.links()?;
        let link = match bridge::find(&self.settings, &mut links) {
            Ok(Some(link)) => link,
            // Another's bridge under the name that was meant for ours was never used.
            Ok(None) | Err(NetworkError::ForeignBridge { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !self.wires(&mut links)?.is_empty() {
            return Ok(());
        }
        let failed = |what| move |source| NetworkError::Kernel { what, source };
        rules::delete(&self.table(), self.settings.range_v6.is_some())
            .map_err(failed("remove the rules of nf_tables"))?;
        links.delete(link.index).or_else(gone_is_fine).map_err(failed("remove the bridge"))?;
        state.bridge = None;
        Ok(())
    }
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) { Ok(()) } else { Err(error) }
}

fn start_loopback() -> io::Result<()> {
    let mut links = Links::open()?;
    let loopback = links.find("lo")?.ok_or(io::ErrorKind::NotFound)?;
    links.set_up(loopback.index)
}

fn start_inside(bridge: &Bridge, ips: &[IpAddr]) -> io::Result<()> {
    let mut links = Links::open()?;
    let inside = links.find(INSIDE)?.ok_or(io::ErrorKind::NotFound)?;
    for (range, ip) in bridge.ranges.iter().zip(ips) {
        links.add_address(inside.index, *ip, range.prefix())?;
    }
    links.set_up(inside.index)?;
    bridge.ranges.iter().try_for_each(|range| links.add_default_route(inside.index, range.gateway()))
}

/// Which port of the host leads where.
fn ways(state: &State) -> Vec<Way> {
    let way = |member: &Member, forward: &Forward| {
        let member_ips = member.ips.clone();
        let forward = *forward;
        member_ips.into_iter().map(move |to| Way {
            host_ip: forward.host_ip,
            host_port: forward.host_port,
            to,
            port: forward.port,
        })
    };
    let members = state.members.values().filter(|member| member.mode == Mode::Bridge);
    members.flat_map(|member| member.forwards.iter().flat_map(move |forward| way(member, forward))).collect()
}

/// The host's end of an alloc's wire.
fn wire_name(alloc: &str) -> String {
    let digits = alloc.chars().filter(char::is_ascii_alphanumeric).take(12);
    std::iter::once("drv").map(str::to_owned).chain(digits.map(String::from)).collect()
}

/// What is written on a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wire {
    alloc: String,
    ips: Vec<IpAddr>,
}

impl Wire {
    fn write(&self, node_id: &str) -> String {
        let ips: Vec<String> = self.ips.iter().map(IpAddr::to_string).collect();
        format!("{} {} {}", bridge::mark_of(node_id), self.alloc, ips.join(","))
    }

    fn read(alias: &str, node_id: &str) -> Option<Wire> {
        let rest = alias.strip_prefix(&bridge::mark_of(node_id))?.strip_prefix(' ')?;
        let (alloc, ips) = rest.split_once(' ')?;
        Some(Wire { alloc: alloc.to_owned(), ips: ips.split(',').filter_map(|ip| ip.parse().ok()).collect() })
    }
}

#[cfg(test)]
mod tests;
