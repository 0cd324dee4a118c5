//! The network of an alloc whose group does not use the host's: there before its first task, gone after its last.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use drover_model::AllocId;
use drover_model::alloc::NetworkStatus;
use drover_model::group::Group;
use drover_model::network::Network;
use drover_network::{Connected, Forward, Mode, Networks, Published, Request, Taken, holder, published_elsewhere};
use rustix::io::Errno;

use crate::decide::actual::StartFailure;
use crate::decide::wanted::Wanted;

/// A variable that every task has: who has it is a task.
const TASK_MARK: &str = "NOMAD_ALLOC_ID=";
/// Networks that are looked after at a time; allocs share these turns by their ids.
const TURNS: usize = 16;

/// The networks of an edge.
#[derive(Debug)]
pub struct EdgeNetworks {
    networks: Result<Networks, String>,
    /// The node: tasks and rules of any other are strangers'. Empty knows of no others.
    node_id: String,
    /// Ports of the host network `default` are published at every address.
    binds_wildcard: bool,
    /// Tasks of one alloc may begin at once: only one of them makes their network, and no other is in it while it may have to go again.
    turns: [Mutex<()>; TURNS],
}

/// What a task gets of its alloc's network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Joined {
    /// What its tasks enter; none is the host's network.
    pub namespace: Option<PathBuf>,
    /// What the servers are told.
    pub status: Option<NetworkStatus>,
    /// The name of its host; mostly empty.
    pub hostname: String,
}

impl EdgeNetworks {
    /// With networks, or with the reason why there are none.
    pub fn new(networks: Result<Networks, String>, binds_wildcard: bool) -> EdgeNetworks {
        EdgeNetworks { networks, node_id: String::new(), binds_wildcard, turns: Default::default() }
    }

    /// Those of that node.
    #[must_use]
    pub fn of_node(self, node_id: String) -> EdgeNetworks {
        EdgeNetworks { node_id, ..self }
    }

    /// Before the start of a task. The first one has the network made.
    pub fn prestart(&self, wanted: &Wanted, group: &Group) -> Result<Joined, StartFailure> {
        let Some(network) = group.networks.first() else { return Ok(Joined::default()) };
        let Some(request) = self.request(wanted, network) else {
            return match network.mode.as_str() {
                "" | "host" => {
                    self.refuse_taken(wanted, group, |_, ip| ip, false)?;
                    Ok(Joined::default())
                }
                other => Err(StartFailure::Setup(format!("network mode {other:?} is not supported"))),
            };
        };
        let no_network = |reason: &str| format!("failed to make the network of the alloc: {reason}");
        let networks = self.networks.as_ref().map_err(|reason| StartFailure::Setup(no_network(reason)))?;
        let _turn = self.turn(wanted.alloc.id);
        let was_connected = networks.is_connected(&request.alloc);
        if !was_connected {
            self.refuse_taken(wanted, group, |label, ip| self.published_at(group, label, ip), true)?;
        }
        // What fails here may work another time: an address or a range may get free.
        let connected =
            networks.connect(&request).map_err(|error| StartFailure::Driver(no_network(&error.full_text())))?;
        // Another agent may have published the same at the same time: one that sees it after its own has to yield.
        let elsewhere =
            if was_connected || request.forwards.is_empty() { Ok(Vec::new()) } else { self.published_elsewhere() };
        let is_ours = |its: &&Published| request.forwards.iter().any(|ours| its.takes(ours.host_ip, ours.host_port));
        let refused =
            |published: &Published| StartFailure::Driver(format!("a port of the alloc can't be had: {published}"));
        if let Err(failure) = elsewhere.and_then(|all| all.iter().find(is_ours).map_or(Ok(()), |its| Err(refused(its))))
        {
            self.release(wanted.alloc.id);
            return Err(failure);
        }
        Ok(joined(connected, network))
    }

    /// A port that a stranger holds is no use to the alloc. One that a task of this node holds is that task's business: it may be
    /// of this alloc.
    fn refuse_taken(
        &self,
        wanted: &Wanted,
        group: &Group,
        published_at: impl Fn(&str, Option<IpAddr>) -> Option<IpAddr>,
        with_udp: bool,
    ) -> Result<(), StartFailure> {
        // Looked at once, and only where a port is wanted.
        let elsewhere = LazyCell::new(|| self.published_elsewhere());
        let asked =
            || group.networks.iter().flat_map(|network| network.reserved_ports.iter().chain(&network.dynamic_ports));
        for port in &wanted.alloc.allocated_resources.shared.ports {
            let may_be_shared = asked().any(|asked| asked.label == port.label && asked.ignore_collision);
            let Ok(number) = u16::try_from(port.value) else { continue };
            let Ok(ip) = port.host_ip.parse::<IpAddr>() else { continue };
            if may_be_shared || number == 0 {
                continue;
            }
            let refused = |why: &dyn std::fmt::Display| {
                Err(StartFailure::Driver(format!("port {:?} can't be had: {why}", port.label)))
            };
            let at = published_at(&port.label, Some(ip));
            if let Some(taken) = holder(at, number, with_udp).filter(|taken| is_strangers(taken, &self.node_id)) {
                return refused(&taken);
            }
            let elsewhere = elsewhere.as_ref().map_err(StartFailure::clone)?;
            if let Some(published) = elsewhere.iter().find(|its| its.takes(at, number)) {
                return refused(published);
            }
        }
        Ok(())
    }

    fn published_elsewhere(&self) -> Result<Vec<Published>, StartFailure> {
        if self.node_id.is_empty() { Ok(Vec::new()) } else { seen(published_elsewhere(&self.node_id)) }
    }

    /// Looks whether what all networks need is there, and makes it anew where it is not: true when it was not.
    pub fn put_right(&self) -> bool {
        let Ok(networks) = &self.networks else { return false };
        networks.put_right().unwrap_or_else(|error| {
            tracing::warn!(error = error.full_text(), "bridge and rules of the allocs not put right");
            false
        })
    }

    /// What tasks of a running alloc have.
    pub fn status(&self, wanted: &Wanted) -> Option<NetworkStatus> {
        let network = wanted.group()?.networks.first()?;
        let connected = self.networks.as_ref().ok()?.find(&wanted.alloc.id.to_string())?;
        joined(connected, network).status
    }

    /// Of an alloc whose tasks ran before this agent: its network as it stands, none if it is not there any more.
    pub fn take_over(&self, wanted: &Wanted) -> Option<NetworkStatus> {
        let network = wanted.group()?.networks.first()?;
        let request = self.request(wanted, network)?;
        let networks = self.networks.as_ref().ok().filter(|networks| networks.is_connected(&request.alloc))?;
        match networks.connect(&request) {
            Ok(connected) => joined(connected, network).status,
            Err(error) => {
                tracing::warn!(
                    alloc = request.alloc,
                    error = error.full_text(),
                    "network of a running alloc not found"
                );
                None
            }
        }
    }

    /// When nothing of the alloc runs any more.
    pub fn poststop(&self, alloc: AllocId) {
        let _turn = self.turn(alloc);
        self.release(alloc);
    }

    /// Nobody else makes or takes away the network of that alloc while this is held.
    fn turn(&self, alloc: AllocId) -> MutexGuard<'_, ()> {
        let place = alloc.as_bytes().last().map_or(0, |byte| usize::from(*byte) % TURNS);
        self.turns[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, alloc: AllocId) {
        if let Ok(networks) = &self.networks
            && let Err(error) = networks.release(&alloc.to_string())
        {
            tracing::warn!(%alloc, error = error.full_text(), "network of the alloc not removed");
        }
    }

    /// At the agent's start: the networks of these allocs are taken over as they stand.
    pub fn adopt<'a>(&self, all: impl Iterator<Item = &'a Wanted>) {
        let Ok(networks) = &self.networks else { return };
        let request = |wanted: &Wanted| self.request(wanted, wanted.group()?.networks.first()?);
        let requests: Vec<Request> = all.filter_map(request).collect();
        if !requests.is_empty()
            && let Err(error) = networks.adopt(&requests)
        {
            tracing::warn!(error = error.full_text(), "networks of earlier allocs not taken over");
        }
    }

    /// The allocs that have a network now.
    pub fn connected(&self) -> BTreeSet<AllocId> {
        let kept = self.networks.as_ref().ok().and_then(|networks| networks.kept().ok()).unwrap_or_default();
        kept.iter().filter_map(|alloc| AllocId::from_str(alloc).ok()).collect()
    }

    /// Removes the bridge if nothing needs it.
    pub fn tidy(&self) {
        if let Ok(networks) = &self.networks
            && let Err(error) = networks.tidy()
        {
            tracing::warn!(error = error.full_text(), "bridge of the allocs not removed");
        }
    }

    /// Removes all of them, and the bridge.
    pub fn remove_all(&self) {
        if let Ok(networks) = &self.networks
            && let Err(error) = networks.keep_only(&BTreeSet::new())
        {
            tracing::warn!(error = error.full_text(), "networks of allocs not removed");
        }
    }

    /// What the group wants; none when that is the host's network, or nothing that there is.
    fn request(&self, wanted: &Wanted, network: &Network) -> Option<Request> {
        let mode = match network.mode.as_str() {
            "bridge" => Mode::Bridge,
            "none" => Mode::Alone,
            _ => return None,
        };
        let group = wanted.group()?;
        let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
        let ports = &wanted.alloc.allocated_resources.shared.ports;
        let forwards = ports.iter().filter_map(|port| {
            let host_port = number(port.value)?;
            let ip = port.host_ip.parse().ok();
            Some(Forward {
                host_ip: self.published_at(group, &port.label, ip),
                host_port,
                port: number(port.to).unwrap_or(host_port),
            })
        });
        Some(Request { alloc: wanted.alloc.id.to_string(), mode, forwards: forwards.collect() })
    }

    /// The address of a published port; none means all.
    fn published_at(&self, group: &Group, label: &str, ip: Option<IpAddr>) -> Option<IpAddr> {
        let ports =
            group.networks.iter().flat_map(|network| network.reserved_ports.iter().chain(&network.dynamic_ports));
        let host_network = ports.filter(|port| port.label == label).map(|port| port.host_network.as_str()).next();
        match host_network {
            // Where IPv4 and IPv6 are given out one by one, the port of the other family may be another alloc's.
            None | Some("" | "default") if self.binds_wildcard => ip.filter(IpAddr::is_ipv6),
            _ => ip,
        }
    }
}

impl Default for EdgeNetworks {
    fn default() -> Self {
        EdgeNetworks::new(Err("this edge has no networks for allocs".to_owned()), true)
    }
}

/// What a look at the ports of others has found. One that failed has not found that there are none: that is tried again.
fn seen(looked: io::Result<Vec<Published>>) -> Result<Vec<Published>, StartFailure> {
    /// Who may not read the rules, or make such a socket, has none of his own either; the others are of a kernel that knows no
    /// such rules.
    const NOTHING_TO_SEE: [Errno; 7] = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::INVAL,
        Errno::NOSYS,
        Errno::AFNOSUPPORT,
        Errno::PROTONOSUPPORT,
        Errno::OPNOTSUPP,
    ];
    match looked {
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| NOTHING_TO_SEE.contains(&errno)) => {
            Ok(Vec::new())
        }
        looked => looked.map_err(|error| {
            StartFailure::Driver(format!("can't see which ports other agents have published on this host: {error}"))
        }),
    }
}

fn joined(connected: Connected, network: &Network) -> Joined {
    let ip =
        |is_v4: bool| connected.ips.iter().find(|ip| ip.is_ipv4() == is_v4).map(IpAddr::to_string).unwrap_or_default();
    let status = NetworkStatus {
        interface_name: connected.interface.clone(),
        address: ip(true),
        address_ipv6: ip(false),
        dns: network.dns.clone().filter(serde_json::Value::is_object),
    };
    Joined {
        namespace: Some(connected.namespace),
        status: (!connected.interface.is_empty()).then_some(status),
        hostname: network.hostname.clone(),
    }
}

/// Whether somebody holds it who is no task of this node.
fn is_strangers(taken: &Taken, node_id: &str) -> bool {
    let Some(holder) = &taken.holder else { return true };
    let environment = std::fs::read(format!("/proc/{}/environ", holder.pid)).unwrap_or_default();
    let mut marks = environment.split(|byte| *byte == 0).filter_map(|line| line.strip_prefix(TASK_MARK.as_bytes()));
    let Some(alloc) = marks.next().map(String::from_utf8_lossy) else { return true };
    // Without a cgroup nothing says whose task it is.
    !node_id.is_empty() && node_of(&holder.cgroups, &alloc).is_some_and(|node| !node_id.starts_with(node))
}

/// The node in whose cgroup a task is: the directory above that of the task, which begins with the alloc's id.
fn node_of<'a>(cgroups: &'a str, alloc: &str) -> Option<&'a str> {
    let paths = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.into_iter().find_map(|path| {
        let parts: Vec<&str> = path.split('/').collect();
        let place = parts.iter().position(|part| !alloc.is_empty() && part.starts_with(alloc))?;
        parts.get(place.checked_sub(1)?).copied().filter(|node| !node.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use drover_model::alloc::Alloc;
    use drover_model::job::Job;
    use drover_model::network::{Port, PortMapping};

    use super::*;

    fn wanted(mode: &str, ports: &[(&str, &str, u16, i32, &str)]) -> Wanted {
        let asked = |(label, _, value, to, host_network): &(&str, &str, u16, i32, &str)| Port {
            label: (*label).to_owned(),
            value: i32::from(*value),
            to: *to,
            host_network: (*host_network).to_owned(),
            ..Port::default()
        };
        let given = |(label, ip, value, to, _): &(&str, &str, u16, i32, &str)| PortMapping {
            label: (*label).to_owned(),
            value: i32::from(*value),
            to: *to,
            host_ip: (*ip).to_owned(),
        };
        let network =
            Network { mode: mode.to_owned(), reserved_ports: ports.iter().map(asked).collect(), ..Network::default() };
        let group = Group { name: "g".to_owned(), networks: vec![network], ..Group::default() };
        let job = Job { task_groups: vec![group], ..Job::default() };
        let mut alloc = Alloc { id: AllocId::from_random([3; 16]), task_group: "g".to_owned(), ..Alloc::default() };
        Arc::make_mut(&mut alloc.allocated_resources).shared.ports = ports.iter().map(given).collect();
        Wanted { alloc, job: Arc::new(job) }
    }

    #[test]
    fn a_groups_ports_become_ways_in() {
        let wanted = wanted(
            "bridge",
            &[
                ("http", "10.0.0.1", 8080, 80, ""),
                ("same", "10.0.0.1", 9090, 0, "default"),
                ("inner", "10.1.0.1", 7070, 70, "private"),
            ],
        );
        let network = &wanted.group().unwrap().networks[0];
        let ways = |binds_wildcard: bool| {
            let request = EdgeNetworks { binds_wildcard, ..EdgeNetworks::default() }.request(&wanted, network).unwrap();
            let way = |way: Forward| (way.host_ip.map(|ip| ip.to_string()), way.host_port, way.port);
            request.forwards.into_iter().map(way).collect::<Vec<_>>()
        };
        let ip = |text: &str| Some(text.to_owned());
        assert_eq!(ways(true), [(None, 8080, 80), (None, 9090, 9090), (ip("10.1.0.1"), 7070, 70)]);
        assert_eq!(ways(false)[0], (ip("10.0.0.1"), 8080, 80));
    }

    #[test]
    fn a_network_is_not_taken_away_while_a_task_is_on_its_way_into_it() {
        let edge = EdgeNetworks::default();
        let [alloc, other] = [3, 4].map(|byte| AllocId::from_random([byte; 16]));
        let (tx, ended) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let turn = edge.turn(alloc);
            let edge = &edge;
            scope.spawn(move || {
                // Another alloc is none of its business.
                for alloc in [other, alloc] {
                    edge.poststop(alloc);
                    tx.send(alloc).unwrap();
                }
            });
            assert_eq!(ended.recv(), Ok(other));
            assert!(ended.recv_timeout(std::time::Duration::from_millis(20)).is_err());
            drop(turn);
            assert_eq!(ended.recv(), Ok(alloc));
        });
    }

    #[test]
    fn without_networks_only_the_hosts_will_do() {
        let edge = EdgeNetworks::new(Err("bridge networks need root".to_owned()), true);
        let start = |mode: &str| {
            let wanted = wanted(mode, &[]);
            edge.prestart(&wanted, wanted.group().unwrap())
        };
        assert_eq!(start("host"), Ok(Joined::default()));
        let setup = |text: &str| Err(StartFailure::Setup(text.to_owned()));
        assert_eq!(start("bridge"), setup("failed to make the network of the alloc: bridge networks need root"));
        assert_eq!(start("cni/x"), setup("network mode \"cni/x\" is not supported"));
    }

    #[test]
    fn whose_task_it_is_stands_in_its_cgroup() {
        let check =
            |cgroups: &str, expected: Option<&str>| assert_eq!(node_of(cgroups, "03-03"), expected, "{cgroups}");
        check("5:freezer:/drover/0a0b0c0d/03-03.web\n0::/\n", Some("0a0b0c0d"));
        check("1:cpu:/\n0::/system.slice/drover.service/0a0b0c0d/03-03.web\n", Some("0a0b0c0d"));
        check("0::/user.slice/03-0/x\n", None);
        check("0::/03-03.web\n", None);
        check("", None);
    }

    #[test]
    fn a_look_that_failed_has_not_found_that_nobody_has_the_port() {
        let failure = seen(Err(io::ErrorKind::Interrupted.into())).unwrap_err();
        let StartFailure::Driver(text) = failure else { panic!("{failure:?}") };
        assert!(text.starts_with("can't see which ports other agents have published on this host: "), "{text}");
        for errno in [Errno::PERM, Errno::INVAL, Errno::AFNOSUPPORT, Errno::NOSYS] {
            assert_eq!(seen(Err(errno.into())), Ok(Vec::new()));
        }
    }

    #[test]
    fn a_port_of_a_stranger_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = wanted("host", &[("http", "127.0.0.1", port, 0, "")]);
        let failure = EdgeNetworks::default().prestart(&taken, taken.group().unwrap()).unwrap_err();
        let StartFailure::Driver(text) = failure else { panic!("{failure:?}") };
        assert!(
            text.starts_with(&format!("port \"http\" can't be had: 127.0.0.1:{port} is held by process")),
            "{text}"
        );
        let mut shared = taken.clone();
        let job = Arc::make_mut(&mut shared.job);
        job.task_groups[0].networks[0].reserved_ports[0].ignore_collision = true;
        assert_eq!(EdgeNetworks::default().prestart(&shared, shared.group().unwrap()), Ok(Joined::default()));
        drop(listener);
        assert_eq!(EdgeNetworks::default().prestart(&taken, taken.group().unwrap()), Ok(Joined::default()));
    }
}
