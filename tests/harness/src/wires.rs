//! Network namespaces of a test's own, each with a wire to one in the middle that can lose what goes from one to another.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace. It is there as long as this or something inside it.
struct Network {
    keeper: Child,
}

impl Network {
    fn new() -> Result<Self, String> {
        // It ends when its input does: with this process, however that ends.
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo made && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("unshare: {e}"))?;
        let mut line = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|e| format!("unshare: {e}"))?;
        }
        let network = Self { keeper };
        if line == "made\n" { Ok(network) } else { Err("a network namespace can't be made".to_owned()) }
    }

    fn pid(&self) -> String {
        self.keeper.id().to_string()
    }

    fn ip(&self, args: &[&str]) -> Result<(), String> {
        self.run("ip", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n", program]).args(args).stdin(Stdio::null());
        let output = command.output().map_err(|e| format!("nsenter: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Its status says nothing.
        let _ = self.keeper.wait();
    }
}

/// The way into a namespace.
#[derive(Clone, Debug)]
pub struct Door(Arc<File>);

impl Door {
    /// From now on this thread, and what it starts, is inside.
    ///
    /// # Panics
    /// It may not go there.
    pub fn enter(&self) {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&*self.0), Some(LinkNameSpaceType::Network))
            .expect("who made the namespace may enter it");
    }
}

/// Namespaces joined in the middle. Needs root, `ip`, `unshare` and `nsenter`; gone when this is dropped.
pub struct Wires {
    middle: Network,
    ends: Vec<Network>,
    doors: Vec<Door>,
    cuts: Vec<(usize, usize)>,
}

impl Wires {
    /// Makes `count` of them, or says why it can't.
    ///
    /// # Errors
    /// Not root, or a program is missing.
    pub fn new(count: usize) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let mut wires = Self { middle: Network::new()?, ends: Vec::new(), doors: Vec::new(), cuts: Vec::new() };
        let settings = "cd /proc/sys/net/ipv4 && echo 1 > ip_forward && \
                        for file in conf/*/rp_filter; do echo 0 > $file; done";
        wires.middle.run("sh", &["-c", settings])?;
        for number in 0..count {
            let end = Network::new()?;
            let wire = format!("wire{number}");
            let (near, far) = (format!("10.78.{number}.1"), wires.address(number));
            let pair = ["link", "add", &wire, "type", "veth", "peer", "name", "wire", "netns", &end.pid()];
            wires.middle.ip(&pair)?;
            wires.middle.ip(&["addr", "add", &format!("{near}/24"), "dev", &wire])?;
            wires.middle.ip(&["link", "set", &wire, "up"])?;
            end.ip(&["addr", "add", &format!("{far}/24"), "dev", "wire"])?;
            end.ip(&["link", "set", "wire", "up"])?;
            end.ip(&["route", "add", "default", "via", &near])?;
            let door = File::open(format!("/proc/{}/ns/net", end.pid())).map_err(|e| format!("namespace: {e}"))?;
            wires.doors.push(Door(Arc::new(door)));
            wires.ends.push(end);
        }
        Ok(wires)
    }

    /// The address of one of them for the others.
    pub fn address(&self, number: usize) -> String {
        format!("10.78.{number}.2")
    }

    /// The way into one of them.
    pub fn door(&self, number: usize) -> Door {
        self.doors[number].clone()
    }

    /// From now on everything from one to another is lost in the middle, without a word to anybody.
    ///
    /// # Panics
    /// The rule is not taken.
    pub fn cut(&mut self, from: usize, to: usize) {
        if !self.cuts.contains(&(from, to)) {
            self.rule("add", from, to);
            self.cuts.push((from, to));
        }
    }

    /// Both ways between one of them and each of `others`.
    ///
    /// # Panics
    /// A rule is not taken.
    pub fn part(&mut self, one: usize, others: &[usize]) {
        for other in others.iter().filter(|other| **other != one) {
            self.cut(one, *other);
            self.cut(*other, one);
        }
    }

    /// Everything arrives again.
    ///
    /// # Panics
    /// A rule does not go.
    pub fn heal(&mut self) {
        for (from, to) in std::mem::take(&mut self.cuts) {
            self.rule("del", from, to);
        }
    }

    fn rule(&self, verb: &str, from: usize, to: usize) {
        // A black hole in the way of a packet that is passed on answers nothing.
        let (wire, to) = (format!("wire{from}"), format!("{}/32", self.address(to)));
        self.middle.ip(&["rule", verb, "iif", &wire, "to", &to, "blackhole"]).expect("the middle takes the rule");
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// A packet from one to the other, and whether it came. One that has to come is waited for.
    fn passes(from: &UdpSocket, to: &UdpSocket, word: &[u8], must_come: bool) -> bool {
        let limit = if must_come { Duration::from_secs(60) } else { Duration::from_millis(300) };
        to.set_read_timeout(Some(limit)).unwrap();
        from.send_to(word, to.local_addr().unwrap()).unwrap();
        let mut heard = [0; 8];
        loop {
            match to.recv(&mut heard) {
                Ok(length) if heard[..length] == *word => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn one_way_is_cut_and_the_other_is_not() {
        let mut wires = match Wires::new(2) {
            Ok(wires) => wires,
            Err(reason) => return println!("skipped: {reason}"),
        };
        let sockets: Vec<UdpSocket> = (0..2)
            .map(|number| {
                let (door, address) = (wires.door(number), wires.address(number));
                let bind = move || {
                    door.enter();
                    UdpSocket::bind((address, 0)).unwrap()
                };
                std::thread::spawn(bind).join().unwrap()
            })
            .collect();
        assert!(passes(&sockets[0], &sockets[1], b"a", true));
        assert!(passes(&sockets[1], &sockets[0], b"b", true));
        wires.cut(0, 1);
        assert!(!passes(&sockets[0], &sockets[1], b"c", false));
        assert!(passes(&sockets[1], &sockets[0], b"d", true));
        wires.heal();
        assert!(passes(&sockets[0], &sockets[1], b"e", true));
        wires.part(0, &[0, 1]);
        assert!(!passes(&sockets[0], &sockets[1], b"f", false));
        assert!(!passes(&sockets[1], &sockets[0], b"g", false));
    }
}
