//! Hears from the kernel when links, addresses and routes change, and when devices, processors and modules come and go. What it
//! was does not matter here: whoever hears looks again.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Links, addresses of both families, and routes.
const ROUTE_GROUPS: u32 =
    (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR | libc::RTMGRP_IPV4_ROUTE) as u32;
/// What the kernel itself says of devices, not what a device manager adds.
const DEVICE_GROUPS: u32 = 1;
/// The longest message that is told apart from the next one; what is longer is cut, which changes nothing here.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
/// Messages that are taken at a time before others get their turn.
const MESSAGES_MAX: usize = 256;

/// Sockets that wake when something has changed.
pub struct KernelEvents {
    sockets: Vec<AsyncFd<OwnedFd>>,
}

impl KernelEvents {
    /// Listens. Where the kernel does not let us, the others alone are heard, or none.
    pub fn open() -> KernelEvents {
        let sockets = [(libc::NETLINK_ROUTE, ROUTE_GROUPS), (libc::NETLINK_KOBJECT_UEVENT, DEVICE_GROUPS)];
        let open = |(protocol, groups)| match listen(protocol, groups).and_then(registered) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::debug!(protocol, %error, "changes are not heard of at once");
                None
            }
        };
        KernelEvents { sockets: sockets.into_iter().filter_map(open).collect() }
    }

    /// Resolves when something has changed, or at that time at the latest.
    pub async fn changed(&self, until: Instant) {
        let wait = |place: usize| async move {
            match self.sockets.get(place) {
                Some(socket) => match socket.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait(0) => {}
            () = wait(1) => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Resolves when nothing more has been said for that long, at the latest after eight times that long. Takes what was said.
    pub async fn settled(&self, quiet: Duration) {
        let end = Instant::now() + quiet * 8;
        loop {
            self.sockets.iter().for_each(|socket| empty(socket.get_ref()));
            let next = Instant::now() + quiet;
            if next >= end {
                return;
            }
            self.changed(next).await;
            if Instant::now() >= next {
                return;
            }
        }
    }
}

fn registered(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is made here, so that it stays open and the same until it is dropped.
    unsafe { AsyncFd::register(socket) }.map_err(Into::into)
}

fn listen(protocol: libc::c_int, groups: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers and gives a new descriptor, or an error.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all bytes of a netlink address may be zero.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = groups;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address is valid for the call, and `length` is its size.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// Takes what is there. A queue that ran over says so once, which is a message like any other.
fn empty(socket: &OwnedFd) {
    let mut buffer = [0_u8; MESSAGE_BYTES_MAX];
    for _ in 0..MESSAGES_MAX {
        match rustix::io::read(socket, &mut buffer) {
            Ok(_) | Err(rustix::io::Errno::NOBUFS) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// One that listens to what is sent by way of the other end.
    fn heard_by_way_of() -> (KernelEvents, UnixDatagram) {
        let (ours, other) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (KernelEvents { sockets: vec![registered(ours.into()).unwrap()] }, other)
    }

    #[tokio::test]
    async fn the_kernel_lets_us_listen() {
        // Others on this machine may make links meanwhile: it ends all the same.
        let events = KernelEvents::open();
        assert!(!events.sockets.is_empty(), "links and addresses are told to anybody");
        events.settled(Duration::from_millis(20)).await;
        events.changed(Instant::now() + Duration::from_millis(20)).await;
    }

    #[tokio::test]
    async fn what_is_said_is_heard_once() {
        let (events, other) = heard_by_way_of();
        let far = || Instant::now() + Duration::from_secs(3600);
        other.send(b"a link").unwrap();
        other.send(b"an address").unwrap();
        tokio::time::timeout(Duration::from_secs(60), events.changed(far())).await.expect("it is heard");
        tokio::time::timeout(Duration::from_secs(60), events.settled(Duration::from_millis(1))).await.unwrap();
        // All of it was taken, so that nothing wakes until something is said again.
        let again = tokio::time::timeout(Duration::from_millis(50), events.changed(far())).await;
        assert!(again.is_err(), "nothing was said since");
        other.send(b"a device").unwrap();
        tokio::time::timeout(Duration::from_secs(60), events.changed(far())).await.expect("it is heard again");
    }

    #[tokio::test]
    async fn whoever_never_stops_talking_is_not_waited_for() {
        let (events, other) = heard_by_way_of();
        other.set_nonblocking(true).unwrap();
        let talking = tokio::spawn(async move {
            loop {
                // A full queue is emptied by the listener.
                let _ = other.send(b"again");
                tokio::task::yield_now().await;
            }
        });
        let settled = tokio::time::timeout(Duration::from_secs(60), events.settled(Duration::from_millis(10))).await;
        talking.abort();
        assert!(settled.is_ok());
    }
}
