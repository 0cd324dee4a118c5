use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::nft;

#[test]
fn a_wire_is_read_as_it_was_written() {
    let wire =
        Wire { alloc: "1f2e3d4c-0000".to_owned(), ips: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()] };
    let alias = wire.write("n1");
    assert_eq!(alias, "drover n1 1f2e3d4c-0000 10.0.0.2,fd00::2");
    assert_eq!(Wire::read(&alias, "n1"), Some(wire));
    assert_eq!(Wire::read(&alias, "n2"), None);
    assert_eq!(Wire::read("drover n1", "n1"), None);
    assert_eq!(Wire::read("", "n1"), None);
    assert_eq!(wire_name("1f2e3d4c-0000-4000"), "drv1f2e3d4c0000");
}

#[test]
fn only_ids_become_files() {
    let networks = Networks::new(settings(Path::new("/nowhere"), NODE));
    for wrong in ["", "..", "a/b", "a b", &"a".repeat(65)] {
        assert!(matches!(networks.path(wrong), Err(NetworkError::Name { .. })), "{wrong}");
    }
    assert!(networks.kept().unwrap().is_empty());
}

const NODE: &str = "0a0b0c0d-1111-4222-8333-444455556666";
const OTHER: &str = "9a9b9c9d-1111-4222-8333-444455556666";
/// The host's address for the rest of the world, and that of the world.
const HOST: &str = "10.99.0.1";
const WORLD: &str = "10.99.0.2";

fn settings(dir: &Path, node_id: &str) -> Settings {
    Settings {
        node_id: node_id.to_owned(),
        dir: dir.join(node_id),
        bridge_name: None,
        range: None,
        range_v6: None,
        is_hairpin: false,
    }
}

fn request(alloc: &str, ports: &[(u16, u16)]) -> Request {
    let forwards = ports.iter().map(|&(host_port, port)| Forward { host_ip: None, host_port, port }).collect();
    Request { alloc: alloc.to_owned(), mode: Mode::Bridge, forwards }
}

/// Runs a test on a host of its own: a thread in new network and mount namespaces, with a wire to a world outside.
fn on_a_host(test: impl FnOnce(&Path) + Send + 'static) {
    if let Err(reason) = crate::probe() {
        return println!("skipped: {reason}");
    }
    let thread = std::thread::spawn(|| {
        enter_new_namespaces();
        let run = Command::new("mount").args(["--make-rprivate", "/"]).status().unwrap();
        assert!(run.success());
        assert!(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]).status().unwrap().success());
        for line in [
            "link set lo up",
            "netns add world",
            "link add out type veth peer name wire netns world",
            &format!("addr add {HOST}/24 dev out"),
            "link set out up",
            "-n world link set lo up",
            &format!("-n world addr add {WORLD}/24 dev wire"),
            "-n world link set wire up",
        ] {
            ip(line);
        }
        let dir = tempfile::tempdir().unwrap();
        test(dir.path());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[allow(unsafe_code, reason = "namespaces of a test's own")]
fn enter_new_namespaces() {
    let flags = rustix::thread::UnshareFlags::NEWNET | rustix::thread::UnshareFlags::NEWNS;
    // SAFETY: descriptors stay shared.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
}

fn ip(line: &str) {
    let output = Command::new("ip").args(line.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn world() -> File {
    File::open("/run/netns/world").unwrap()
}

/// Answers every connection with the caller's address, then with what comes.
fn serve(namespace: &File, port: u16) -> std::thread::JoinHandle<()> {
    let (listener, socket) = namespace::enter(namespace, || {
        Ok((TcpListener::bind(("0.0.0.0", port))?, UdpSocket::bind(("0.0.0.0", port))?))
    })
    .unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((len, from)) = socket.recv_from(&mut bytes) {
            socket.send_to(&bytes[..len], from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                writeln!(stream, "{}", stream.peer_addr().unwrap().ip()).unwrap();
                let mut reader = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reader, &mut stream);
            });
        }
    })
}

/// Calls, and gives the caller's address as the other side sees it.
fn call(from: Option<&File>, to: &str) -> io::Result<String> {
    let to: SocketAddr = to.parse().unwrap();
    let call = || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(60))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        read_line(&mut stream)
    };
    match from {
        Some(namespace) => namespace::enter(namespace, call),
        None => call(),
    }
}

fn read_line(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Sends a packet and waits for it to come back.
fn echo(from: Option<&File>, to: &str) -> io::Result<()> {
    let to: SocketAddr = to.parse().unwrap();
    let call = || {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        socket.send_to(b"word", to)?;
        let (len, from) = socket.recv_from(&mut [0; 8])?;
        assert_eq!((len, from), (4, to));
        Ok(())
    };
    match from {
        Some(namespace) => namespace::enter(namespace, call),
        None => call(),
    }
}

fn open(connected: &Connected) -> File {
    File::open(&connected.namespace).unwrap()
}

/// Nothing of any agent is on the host.
fn assert_clean(networks: &[&Networks]) {
    let links: Vec<String> = Links::open().unwrap().all().unwrap().into_iter().map(|link| link.name).collect();
    assert!(links.iter().all(|name| ["lo", "out"].contains(&name.as_str())), "{links:?}");
    assert!(nft::tables().unwrap().is_empty());
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    for networks in networks {
        assert!(networks.kept().unwrap().is_empty());
        assert!(!mounts.contains(networks.settings.dir.to_str().unwrap()), "{mounts}");
    }
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    on_a_host(is_reached_from_everywhere);
}

#[test]
fn so_it_is_where_bridged_packets_are_not_shown() {
    on_a_host(|dir| {
        for family in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            if let Ok(is_shown) = fs::read_to_string(&path) {
                fs::write(&path, if is_shown.trim() == "1" { "0" } else { "1" }).unwrap();
            }
        }
        is_reached_from_everywhere(dir);
    });
}

fn is_reached_from_everywhere(dir: &Path) {
    let networks = Networks::new(settings(dir, NODE));
    let web = networks.connect(&request("web", &[(8080, 80), (8081, 8081)])).unwrap();
    let other = networks.connect(&request("other", &[])).unwrap();
    assert_eq!((web.interface.as_str(), web.ips[0].to_string().as_str()), ("eth0", "172.26.64.2"));
    assert_eq!(other.ips[0].to_string(), "172.26.64.3");
    serve(&open(&web), 80);

    // From elsewhere, who calls is seen as it is.
    assert_eq!(call(Some(&world()), &format!("{HOST}:8080")).unwrap(), WORLD);
    // From the host, by its address and through loopback.
    assert_eq!(call(None, &format!("{HOST}:8080")).unwrap(), HOST);
    assert_eq!(call(None, "127.0.0.1:8080").unwrap(), "172.26.64.1");
    // From the same alloc, from another, and past the port of the host.
    assert_eq!(call(Some(&open(&web)), &format!("{HOST}:8080")).unwrap(), "172.26.64.1");
    assert_eq!(call(Some(&open(&other)), &format!("{HOST}:8080")).unwrap(), "172.26.64.1");
    assert_eq!(call(Some(&open(&other)), "172.26.64.2:80").unwrap(), "172.26.64.3");
    assert_eq!(call(Some(&open(&web)), "127.0.0.1:80").unwrap(), "127.0.0.1");
    for from in [None, Some(&world()), Some(&open(&web)), Some(&open(&other))] {
        echo(from, &format!("{HOST}:8080")).unwrap();
    }
    echo(None, "127.0.0.1:8080").unwrap();

    // Nobody is there, and nothing was published.
    assert_eq!(call(None, &format!("{HOST}:8081")).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(call(None, &format!("{HOST}:80")).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);

    // Out into the world under the host's address; the host's loopback is not to be had.
    serve(&world(), 99);
    assert_eq!(call(Some(&open(&other)), &format!("{WORLD}:99")).unwrap(), HOST);

    networks.release("web").unwrap();
    assert_eq!(call(None, &format!("{HOST}:8080")).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    networks.release("other").unwrap();
    assert_clean(&[&networks]);
}

#[test]
fn packets_follow_a_port_to_its_next_alloc() {
    on_a_host(|dir| {
        let networks = Networks::new(settings(dir, NODE));
        let old = networks.connect(&request("old", &[(8080, 80)])).unwrap();
        serve(&open(&old), 80);
        let caller = namespace::enter(&world(), || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(Duration::from_secs(60)))?;
            socket.connect((HOST, 8080))?;
            Ok(socket)
        })
        .unwrap();
        let ask = || caller.send(b"word").and_then(|_| caller.recv(&mut [0; 8]));
        assert_eq!(ask().unwrap(), 4);
        networks.release("old").unwrap();
        let new = networks.connect(&request("new", &[(8080, 80)])).unwrap();
        assert_ne!(old.ips, new.ips);
        serve(&open(&new), 80);
        assert_eq!(ask().unwrap(), 4);
        networks.release("new").unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn what_could_not_be_removed_is_known_until_it_is() {
    on_a_host(|dir| {
        let networks = Networks::new(settings(dir, NODE));
        let web = networks.connect(&request("web", &[(8080, 80)])).unwrap();
        // Something stands on the file of the namespace.
        rustix::mount::mount_bind("/dev/null", &web.namespace).unwrap();
        networks.release("web").unwrap_err();
        assert_eq!(networks.find("web"), Some(web.clone()));
        rustix::mount::unmount(&web.namespace, rustix::mount::UnmountFlags::NOFOLLOW).unwrap();
        networks.release("web").unwrap();
        assert_eq!(networks.find("web"), None);
        assert_clean(&[&networks]);
    });
}

#[test]
fn an_address_of_the_host_is_kept_to() {
    on_a_host(|dir| {
        let networks = Networks::new(settings(dir, NODE));
        let mut wanted = request("web", &[(8080, 80)]);
        wanted.forwards[0].host_ip = Some(HOST.parse().unwrap());
        let web = networks.connect(&wanted).unwrap();
        serve(&open(&web), 80);
        assert_eq!(call(Some(&world()), &format!("{HOST}:8080")).unwrap(), WORLD);
        assert_eq!(call(None, "127.0.0.1:8080").unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // Ports that change are changed in place.
        let again = networks.connect(&request("web", &[(9090, 80)])).unwrap();
        assert_eq!(again, web);
        assert_eq!(call(None, "127.0.0.1:9090").unwrap(), "172.26.64.1");
        assert_eq!(call(None, &format!("{HOST}:8080")).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        networks.keep_only(&BTreeSet::new()).unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn the_next_agent_finds_what_stands() {
    on_a_host(|dir| {
        let first = Networks::new(settings(dir, NODE));
        let web = first.connect(&request("web", &[(8080, 80)])).unwrap();
        let gone = first.connect(&request("gone", &[(8081, 80)])).unwrap();
        let alone = Request { alloc: "alone".to_owned(), mode: Mode::Alone, forwards: Vec::new() };
        let silent = first.connect(&alone).unwrap();
        serve(&open(&web), 80);
        let mut held = TcpStream::connect((HOST, 8080)).unwrap();
        assert_eq!(read_line(&mut held).unwrap(), HOST);
        drop(first);

        let second = Networks::new(settings(dir, NODE));
        second.adopt(&[request("web", &[(8080, 80)]), alone.clone(), request("never", &[(1, 1)])]).unwrap();
        second.keep_only(&BTreeSet::from(["web".to_owned(), "alone".to_owned()])).unwrap();
        assert!(!gone.namespace.exists() && web.namespace.exists() && silent.namespace.exists());
        assert_eq!(second.connect(&request("web", &[(8080, 80)])).unwrap(), web);
        assert_eq!(second.connect(&alone).unwrap(), silent);
        assert_eq!(call(Some(&world()), &format!("{HOST}:8080")).unwrap(), WORLD);
        // A connection from before has noticed nothing.
        held.write_all(b"still here\n").unwrap();
        assert_eq!(read_line(&mut held).unwrap(), "still here");
        // One that no list named is found when it is asked for.
        drop(second);
        let third = Networks::new(settings(dir, NODE));
        assert_eq!(third.connect(&request("web", &[(8080, 80)])).unwrap(), web);
        assert_eq!(call(None, &format!("{HOST}:8080")).unwrap(), HOST);
        // And an address is not given twice.
        assert_ne!(third.connect(&request("new", &[])).unwrap().ips, web.ips);
        third.keep_only(&BTreeSet::new()).unwrap();
        assert_clean(&[&third]);
    });
}

#[test]
fn a_kill_at_any_step_leaves_nothing_for_good() {
    on_a_host(|dir| {
        let settings = settings(dir, NODE);
        let folder = settings.dir.clone();
        let half = |name: &str, steps: usize| {
            let path = folder.join(name);
            fs::create_dir_all(&folder).unwrap();
            File::create(&path).unwrap();
            let mut links = Links::open().unwrap();
            if steps > 0 {
                namespace::make(&path, start_loopback).unwrap();
            }
            if steps > 1 {
                links.add_wire(&wire_name(name), INSIDE, &File::open(&path).unwrap()).unwrap();
            }
            if steps > 2 {
                let bridge = bridge::ensure(&settings, &mut links).unwrap();
                let index = links.find(&wire_name(name)).unwrap().unwrap().index;
                links.set_master(index, bridge.index).unwrap();
            }
        };
        for steps in 0..4 {
            half(&format!("a{steps}"), steps);
            half(&format!("b{steps}"), steps);
        }
        // Half of them are wanted, and made as if nothing had been there; the others go.
        let networks = Networks::new(settings.clone());
        let wanted: Vec<Request> = (0..4).map(|steps| request(&format!("a{steps}"), &[(8080 + steps, 80)])).collect();
        networks.adopt(&wanted).unwrap();
        for request in &wanted {
            let made = networks.connect(request).unwrap();
            serve(&open(&made), 80);
            assert_eq!(call(None, &format!("{HOST}:{}", request.forwards[0].host_port)).unwrap(), HOST);
        }
        let names = wanted.iter().map(|request| request.alloc.clone()).collect();
        networks.keep_only(&names).unwrap();
        assert_eq!(networks.kept().unwrap(), names);
        // Killed while it took one away: the namespace is gone, the file is there.
        rustix::mount::unmount(folder.join("a0"), rustix::mount::UnmountFlags::DETACH).unwrap();
        // Or the wire is gone and the rest is there.
        let mut links = Links::open().unwrap();
        let wire = links.find(&wire_name("a1")).unwrap().unwrap();
        links.delete(wire.index).unwrap();
        let next = Networks::new(settings.clone());
        next.adopt(&wanted).unwrap();
        next.keep_only(&BTreeSet::new()).unwrap();
        assert_clean(&[&next]);
        // A bridge that never had a wire.
        bridge::ensure(&settings, &mut links).unwrap();
        next.keep_only(&BTreeSet::new()).unwrap();
        assert_clean(&[&next]);
    });
}

#[test]
fn two_agents_leave_each_other_alone() {
    on_a_host(|dir| {
        let (one, two) = (Networks::new(settings(dir, NODE)), Networks::new(settings(dir, OTHER)));
        let first = one.connect(&request("web", &[(8080, 80)])).unwrap();
        let second = two.connect(&request("api", &[(9090, 80)])).unwrap();
        assert_eq!(second.ips[0].to_string(), "172.26.0.2");
        serve(&open(&second), 80);
        assert!(first.namespace.exists());
        one.keep_only(&BTreeSet::new()).unwrap();
        assert_eq!(call(Some(&world()), &format!("{HOST}:9090")).unwrap(), WORLD);
        assert_eq!(two.kept().unwrap().len(), 1);

        // Neither takes the other's bridge or range, or that of the host.
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings(dir, NODE);
            change(&mut settings);
            let networks = Networks::new(settings);
            let error = networks.connect(&request("web", &[])).unwrap_err();
            assert!(networks.kept().unwrap().is_empty());
            error.full_text()
        };
        let name = two.bridge_name();
        assert_eq!(
            refused(&|settings| settings.bridge_name = Some(name.clone())),
            "bridge drover-9a9b9c9d is there already and belongs to somebody else"
        );
        for range in ["172.26.0.0/16", "10.99.0.0/24"] {
            assert_eq!(
                refused(&|settings| settings.range = Some(range.parse().unwrap())),
                format!("range {range} of the bridge overlaps with another network of this host")
            );
        }
        two.keep_only(&BTreeSet::new()).unwrap();
        assert_clean(&[&one, &two]);
    });
}

#[test]
fn allocs_have_addresses_of_both_kinds_when_asked_for() {
    on_a_host(|dir| {
        let mut settings = settings(dir, NODE);
        settings.range = Some("10.5.0.0/24".parse().unwrap());
        settings.range_v6 = Some("fd00:5::/64".parse().unwrap());
        settings.bridge_name = Some("pasture".to_owned());
        settings.is_hairpin = true;
        let networks = Networks::new(settings);
        let web = networks.connect(&request("web", &[(8080, 80)])).unwrap();
        let ips: Vec<String> = web.ips.iter().map(IpAddr::to_string).collect();
        assert_eq!(ips, ["10.5.0.2", "fd00:5::2"]);
        let listener = namespace::enter(&open(&web), || TcpListener::bind("[::]:80")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                writeln!(stream, "{}", stream.peer_addr().unwrap().ip().to_canonical()).unwrap();
            }
        });
        ip("addr add fd00:9::1/64 dev out nodad");
        ip("-n world addr add fd00:9::2/64 dev wire nodad");
        assert_eq!(call(Some(&world()), "[fd00:9::1]:8080").unwrap(), "fd00:9::2");
        assert_eq!(call(Some(&world()), &format!("{HOST}:8080")).unwrap(), WORLD);
        assert_eq!(call(None, "[fd00:9::1]:8080").unwrap(), "fd00:9::1");
        networks.release("web").unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn a_bridge_without_room_says_so() {
    on_a_host(|dir| {
        let mut settings = settings(dir, NODE);
        settings.range = Some("10.5.0.0/30".parse().unwrap());
        let networks = Networks::new(settings);
        networks.connect(&request("a", &[])).unwrap();
        let error = networks.connect(&request("b", &[])).unwrap_err();
        assert_eq!(error.to_string(), "no address is left in 10.5.0.0/30");
        assert_eq!(networks.kept().unwrap().len(), 1);
        networks.release("a").unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn many_ports_go_in_one_transaction() {
    on_a_host(|dir| {
        let networks = Networks::new(settings(dir, NODE));
        let ports: Vec<(u16, u16)> = (20_000..22_000).map(|port| (port, port)).collect();
        networks.connect(&request("web", &ports)).unwrap();
        networks.release("web").unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn what_somebody_has_taken_away_is_put_right() {
    on_a_host(|dir| {
        let networks = Networks::new(settings(dir, NODE));
        assert!(!networks.put_right().unwrap(), "nothing is there and nothing is missed");
        let web = networks.connect(&request("web", &[(8080, 80)])).unwrap();
        serve(&open(&web), 80);
        assert!(!networks.put_right().unwrap());
        // As a firewall does that loads its own rules.
        rules::delete(&networks.table(), false).unwrap();
        assert!(call(None, &format!("{HOST}:8080")).is_err());
        assert!(networks.put_right().unwrap());
        assert_eq!(call(None, &format!("{HOST}:8080")).unwrap(), HOST);
        ip(&format!("link del {}", networks.bridge_name()));
        assert!(networks.put_right().unwrap());
        assert_eq!(call(None, &format!("{HOST}:8080")).unwrap(), HOST);
        assert!(!networks.put_right().unwrap());
        networks.release("web").unwrap();
        assert_clean(&[&networks]);
    });
}

#[test]
fn a_port_that_another_agent_publishes_is_seen() {
    on_a_host(|dir| {
        let (one, two) = (Networks::new(settings(dir, NODE)), Networks::new(settings(dir, OTHER)));
        one.connect(&request("web", &[(8080, 80)])).unwrap();
        let mut inner = request("inner", &[(9090, 90)]);
        inner.forwards[0].host_ip = Some(HOST.parse().unwrap());
        one.connect(&inner).unwrap();
        let seen = |node: &str, ip: Option<&str>, port: u16| {
            let ip = ip.map(|ip| ip.parse().unwrap());
            let all = crate::published_elsewhere(node).unwrap();
            all.iter().find(|found| found.takes(ip, port)).map(ToString::to_string)
        };
        let whole = "port 8080 of every address is published by another agent on this host (node 0a0b0c0d)";
        assert_eq!(seen(OTHER, None, 8080).as_deref(), Some(whole));
        assert_eq!(seen(OTHER, Some(HOST), 8080).as_deref(), Some(whole));
        assert_eq!(seen(NODE, None, 8080), None, "its own");
        assert_eq!(crate::published_elsewhere(OTHER).unwrap().len(), 2, "one for both protocols");
        let inner = format!("{HOST}:9090 is published by another agent on this host (node 0a0b0c0d)");
        assert_eq!(seen(OTHER, Some(HOST), 9090), Some(inner.clone()));
        assert_eq!(seen(OTHER, None, 9090), Some(inner));
        assert_eq!(seen(OTHER, Some("127.0.0.1"), 9090), None);
        assert_eq!(seen(OTHER, None, 80), None);
        for alloc in ["web", "inner"] {
            one.release(alloc).unwrap();
        }
        assert_eq!(seen(OTHER, None, 8080), None);
        assert_clean(&[&one, &two]);
    });
}
