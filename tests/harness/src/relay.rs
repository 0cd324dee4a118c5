//! Bad weather between real processes: UDP sockets in the place of theirs, through which all their packets go.
//!
//! Every process has a door for each of its ports. The others know only the doors; what one sends to a door of another
//! arrives from the sender's own door, so to each of them the doors are the others.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::dice::Dice;
use crate::weather::{Packet, Sky, Weather};

/// How often a door looks whether it is to close.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The longest wait of the thread that delivers.
const IDLE_MAX: Duration = Duration::from_millis(100);
/// The longest UDP packet.
const PACKET_BYTES_MAX: usize = 65_536;
/// Other senders for whom a door is made; packets of more are lost.
const STRANGERS_MAX: usize = 256;

struct Door {
    socket: Arc<UdpSocket>,
    /// The process's own port.
    port: SocketAddr,
    /// Whose it is; nothing for a sender who is none of them.
    owner: Option<usize>,
}

struct Shared {
    begin: Instant,
    sky: Mutex<Sky<usize>>,
    wake: Condvar,
    doors: Mutex<Vec<Arc<Door>>>,
    by_port: Mutex<BTreeMap<SocketAddr, usize>>,
    packets: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

/// What has come to the doors, before the weather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets, all ways.
    pub packets: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
}

/// The relay. Its threads end when this is dropped.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// With nobody behind it.
    pub fn new(weather: Weather, dice: Dice) -> Arc<Self> {
        let shared = Arc::new(Shared {
            begin: Instant::now(),
            sky: Mutex::new(Sky::new(weather, dice)),
            wake: Condvar::new(),
            doors: Mutex::default(),
            by_port: Mutex::default(),
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let relay = Self { shared: shared.clone(), threads: Mutex::default() };
        lock(&relay.threads).push(thread::spawn(move || shared.deliver()));
        Arc::new(relay)
    }

    /// A door for a port of 127.0.0.1 of process `owner`; gives the door's own port.
    ///
    /// # Panics
    /// No port is left.
    pub fn door(&self, owner: usize, port: u16) -> u16 {
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (door, number) = self.shared.open(Some(owner), port).expect("a port is left");
        let shared = self.shared.clone();
        let address = door.socket.local_addr().expect("a bound socket has an address");
        lock(&self.threads).push(thread::spawn(move || shared.receive(&door, number)));
        address.port()
    }

    /// From now on the weather is like that.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.shared.sky).set_weather(weather);
    }

    /// From now on everything from one process to another is lost.
    pub fn cut(&self, from: usize, to: usize) {
        lock(&self.shared.sky).cut(from, to);
    }

    /// Nothing is cut any more.
    pub fn heal(&self) {
        lock(&self.shared.sky).heal();
    }

    /// What was sent through it so far. Between two processes that send only to its doors that is all that they have sent.
    pub fn carried(&self) -> Carried {
        let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        Carried { packets: count(&self.shared.packets), bytes: count(&self.shared.bytes) }
    }

    /// How many packets were lost so far.
    pub fn dropped(&self) -> u64 {
        lock(&self.shared.sky).dropped()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn open(&self, owner: Option<usize>, port: SocketAddr) -> io::Result<(Arc<Door>, usize)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK_AGAIN))?;
        let door = Arc::new(Door { socket: Arc::new(socket), port, owner });
        let mut doors = lock(&self.doors);
        doors.push(door.clone());
        lock(&self.by_port).insert(port, doors.len() - 1);
        Ok((door, doors.len() - 1))
    }

    /// The door of whoever sends from there: one who is none of the processes gets one of his own.
    fn door_of(self: &Arc<Self>, sender: SocketAddr) -> Option<usize> {
        if let Some(number) = lock(&self.by_port).get(&sender) {
            return Some(*number);
        }
        let strangers = lock(&self.doors).iter().filter(|door| door.owner.is_none()).count();
        if strangers >= STRANGERS_MAX {
            return None;
        }
        let (door, number) = self.open(None, sender).ok()?;
        let shared = self.clone();
        // It ends soon after `stop` by itself.
        thread::spawn(move || shared.receive(&door, number));
        Some(number)
    }

    fn receive(self: &Arc<Self>, door: &Door, number: usize) {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        while !self.stop.load(Ordering::SeqCst) {
            // A wait that is over, or the echo of a packet to a process that is not there now.
            let Ok((len, sender)) = door.socket.recv_from(&mut buffer) else { continue };
            self.packets.fetch_add(1, Ordering::SeqCst);
            self.bytes.fetch_add(len as u64, Ordering::SeqCst);
            let Some(from) = self.door_of(sender) else { continue };
            let from_owner = lock(&self.doors)[from].owner;
            // A stranger's packets are never cut.
            let between = (from_owner.unwrap_or(usize::MAX), door.owner.unwrap_or(usize::MAX));
            let packet = Packet { from, to: number, bytes: buffer[..len].to_vec() };
            lock(&self.sky).send(self.begin.elapsed(), &between, packet);
            self.wake.notify_one();
        }
    }

    fn deliver(&self) {
        let mut sky = lock(&self.sky);
        while !self.stop.load(Ordering::SeqCst) {
            let now = self.begin.elapsed();
            if let Some(Packet { from, to, bytes }) = sky.arrived(now) {
                drop(sky);
                let (socket, port) = {
                    let doors = lock(&self.doors);
                    (doors[from].socket.clone(), doors[to].port)
                };
                // Nobody may be there: then it is lost.
                let _ = socket.send_to(&bytes, port);
                sky = lock(&self.sky);
                continue;
            }
            let wait = sky.next_arrival().map_or(IDLE_MAX, |at| at.saturating_sub(now)).min(IDLE_MAX);
            sky = self.wake.wait_timeout(sky, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    }

    fn port(socket: &UdpSocket) -> u16 {
        socket.local_addr().unwrap().port()
    }

    #[test]
    fn processes_know_each_other_by_their_doors() {
        let (one, two, stranger) = (process(), process(), process());
        let relay = Relay::new(Weather::FAIR, Dice::new(1));
        let (door_one, door_two) = (relay.door(0, port(&one)), relay.door(1, port(&two)));
        let mut buffer = [0; 16];
        one.send_to(b"hello", (Ipv4Addr::LOCALHOST, door_two)).unwrap();
        let (len, from) = two.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.port()), (&b"hello"[..], door_one));
        two.send_to(b"yes", from).unwrap();
        let (len, from) = one.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from.port()), (&b"yes"[..], door_two));
        // Somebody else gets an answer too.
        stranger.send_to(b"who", (Ipv4Addr::LOCALHOST, door_two)).unwrap();
        let (_, from) = two.recv_from(&mut buffer).unwrap();
        two.send_to(b"me", from).unwrap();
        assert_eq!(stranger.recv_from(&mut buffer).unwrap().1.port(), door_two);
        // And the ways are cut one by one.
        relay.cut(0, 1);
        one.send_to(b"lost", (Ipv4Addr::LOCALHOST, door_two)).unwrap();
        two.send_to(b"there", (Ipv4Addr::LOCALHOST, door_one)).unwrap();
        assert_eq!(one.recv_from(&mut buffer).unwrap().0, 5);
        // Each door has a thread of its own.
        let lost = || if relay.dropped() == 1 { Ok(()) } else { Err(relay.dropped()) };
        crate::wait_for("a lost packet", Duration::from_secs(60), lost);
        relay.heal();
        one.send_to(b"found", (Ipv4Addr::LOCALHOST, door_two)).unwrap();
        let (len, _) = two.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"found");
        assert_eq!(relay.dropped(), 1);
        assert_eq!(relay.carried(), Carried { packets: 7, bytes: 5 + 3 + 3 + 2 + 4 + 5 + 5 });
    }
}
