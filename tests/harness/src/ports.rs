//! Ports for agents that are told their ports before they start.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports that no kernel hands out by itself (its usual range begins at 32768) and no alloc gets (theirs begins at 20000):
/// once taken here, one stays free for its agent, also while that agent is down.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// Ports that no other test takes while this, or a copy of it, lives.
#[derive(Clone, Debug)]
pub struct Ports<const COUNT: usize> {
    numbers: [u16; COUNT],
    // A name in the abstract space of sockets for each: it goes with the process, whatever becomes of that.
    _marks: Arc<Vec<UnixListener>>,
}

impl<const COUNT: usize> Ports<COUNT> {
    /// Ports that are free on 127.0.0.1 for TCP and UDP, different from each other.
    ///
    /// # Panics
    /// None is left.
    pub fn take() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let count = PORTS.end - PORTS.start;
        // Processes begin apart, so that they seldom try the same one.
        let begin = (std::process::id() % u32::from(count)) as u16;
        let (mut numbers, mut marks) = ([0; COUNT], Vec::new());
        for number in &mut numbers {
            let found = (0..count).find_map(|_| {
                let turn = NEXT.fetch_add(1, Ordering::Relaxed) % count;
                let port = PORTS.start + (begin.wrapping_mul(97) % count + turn) % count;
                Some((port, mark(port)?))
            });
            let (port, mark) = found.expect("a port is left");
            *number = port;
            marks.push(mark);
        }
        Self { numbers, _marks: Arc::new(marks) }
    }

    /// Their numbers.
    pub const fn numbers(&self) -> [u16; COUNT] {
        self.numbers
    }
}

/// Takes a port that nobody marked and nobody listens on.
fn mark(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("drover-test-port-{port}")).ok()?;
    let mark = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    UdpSocket::bind(("127.0.0.1", port)).ok()?;
    Some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_taken_twice_while_it_is_held() {
        let held: Vec<Ports<3>> = (0..20).map(|_| Ports::take()).collect();
        let mut numbers: Vec<u16> = held.iter().flat_map(Ports::numbers).collect();
        assert!(numbers.iter().all(|number| PORTS.contains(number)));
        assert!(numbers.iter().all(|number| mark(*number).is_none()), "each is marked");
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 60);
    }
}
