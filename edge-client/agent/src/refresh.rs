//! Looks at the machine again when the kernel says that something has changed, and now and then: addresses, disks, processors,
//! drivers, devices. What differs reaches the servers as one registration, never more often than [`BETWEEN_MIN`].

use std::sync::Arc;
use std::time::Duration;

use drover_model::node::Node;
use drover_runner::clock;
use drover_runner::drivers::Drivers;
use drover_runner::task_env::EdgeFacts;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::EdgeConfig;
use crate::connection::with_jitter;
use crate::kernel_events::KernelEvents;
use crate::own_node::OwnNode;
use crate::{cloud, devices, fingerprint};

/// How often it is looked without a word of the kernel: not everything has one (a driver's program, a full disk).
const PERIOD: Duration = Duration::from_secs(60);
/// A change often comes in several parts: it is over when nothing was heard for so long.
const QUIET: Duration = Duration::from_millis(500);
/// The shortest time between two changes that the servers are told of, with jitter: many edges may see the same change.
const BETWEEN_MIN: Duration = Duration::from_secs(5);

/// The rest after a look that found nothing new: some machines' links and devices come and go all the time.
const REST: Duration = Duration::from_secs(2);

/// A disk that differs by less than one such part is the same.
const SAME_DISK_PARTS: u64 = 100;

/// Keeps the description of the node true.
pub struct Refresh {
    /// The edge's settings.
    pub config: Arc<EdgeConfig>,
    /// What is kept true.
    pub own: Arc<OwnNode>,
    /// Its drivers.
    pub drivers: Drivers,
    /// Somebody wants it looked at now.
    pub asked: Arc<Notify>,
}

impl Refresh {
    /// Never ends by itself.
    pub async fn run(self) {
        let events = KernelEvents::open();
        let asked = self.asked.clone();
        let this = Arc::new(self);
        let heard = || async {
            events.changed(Instant::now() + with_jitter(PERIOD)).await;
            events.settled(QUIET).await;
        };
        let look = || async {
            let looking = this.clone();
            let has_changed = tokio::task::spawn_blocking(move || looking.look()).await.unwrap_or(false);
            if has_changed {
                tracing::info!("the node's description has changed");
                with_jitter(BETWEEN_MIN * 2)
            } else {
                REST
            }
        };
        in_turn(&asked, heard, look).await;
    }

    /// True when something differs.
    fn look(&self) -> bool {
        let known = self.own.facts().node.clone();
        let found = devices::find(&self.config);
        let mut now = fingerprint::again(&known, &self.config, &self.drivers, clock::now().wall);
        now.node_resources.devices = found.groups;
        let access = Arc::new(found.access);
        self.own.change(|facts| {
            let now = as_known(now, &facts.node);
            *facts = EdgeFacts { node: Arc::new(now), devices: access, ..facts.clone() };
        })
    }
}

/// Looks when something was heard or somebody asks, and rests after each look for as long as that says. Who asks is not kept waiting:
/// a person does not cause storms.
async fn in_turn<H: Future<Output = ()>, L: Future<Output = Duration>>(
    asked: &Notify,
    heard: impl Fn() -> H,
    look: impl Fn() -> L,
) {
    loop {
        tokio::select! {
            () = heard() => {}
            () = asked.notified() => {}
        }
        let rest = look().await;
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = asked.notified() => asked.notify_one(),
        }
    }
}

/// The node as it was found, with what is not found but said, and the times of what has not changed.
fn as_known(mut now: Node, known: &Node) -> Node {
    now.meta.clone_from(&known.meta);
    cloud::carry_over(&mut now, known);
    for (name, driver) in &mut now.drivers {
        if let Some(before) = known.drivers.get(name) {
            let later = std::mem::replace(&mut driver.update_time, before.update_time);
            if driver != before {
                driver.update_time = later;
            }
        }
    }
    // Where several file systems share their disks (ZFS, btrfs), the size of one follows what the others use.
    let (was, is) = (known.node_resources.disk.mib, now.node_resources.disk.mib);
    if was.abs_diff(is) < was.unsigned_abs() / SAME_DISK_PARTS {
        now.node_resources.disk.mib = was;
        if let Some(bytes) = known.attributes.get(fingerprint::DISK_BYTES) {
            now.attributes.insert(fingerprint::DISK_BYTES.to_owned(), bytes.clone());
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use drover_model::Timestamp;
    use drover_model::node::DriverInfo;

    use super::*;

    #[tokio::test]
    async fn a_look_is_followed_by_a_rest_unless_somebody_asks() {
        let (looks, asked) = (Cell::new(0), Notify::new());
        let last = Cell::new(None::<Instant>);
        let rest = Duration::from_millis(20);
        // Something is heard all the time.
        let look = |rests: Duration, looks_max: u32| {
            let (looks, last, asked) = (&looks, &last, &asked);
            async move {
                if let Some(last) = last.replace(Some(Instant::now())) {
                    assert!(rests > rest || last.elapsed() >= rest);
                }
                looks.set(looks.get() + 1);
                if looks.get() == looks_max {
                    std::future::pending::<()>().await;
                }
                if rests > rest {
                    asked.notify_one();
                }
                rests
            }
        };
        let enough = Duration::from_secs(60);
        let until = |looks_max: u32| {
            let looks = &looks;
            async move {
                while looks.get() < looks_max {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            () = in_turn(&asked, || async {}, || look(rest, 4)) => {}
            reached = tokio::time::timeout(enough, until(4)) => reached.unwrap(),
        }
        // Who asks does not wait for an hour to be over.
        tokio::select! {
            () = in_turn(&asked, || async {}, || look(Duration::from_secs(3600), 8)) => {}
            reached = tokio::time::timeout(enough, until(8)) => reached.unwrap(),
        }
    }

    #[test]
    fn a_disk_that_is_hardly_another_one_makes_no_change() {
        let node = |mib: i64| {
            let mut node = Node::default();
            node.node_resources.disk.mib = mib;
            node.attributes.insert(fingerprint::DISK_BYTES.to_owned(), (mib << 20).to_string());
            node
        };
        assert_eq!(as_known(node(100_500), &node(100_000)), node(100_000));
        assert_eq!(as_known(node(102_000), &node(100_000)), node(102_000));
        assert_eq!(as_known(node(5), &node(0)), node(5));
    }

    #[test]
    fn a_driver_that_is_as_it_was_makes_no_change() {
        let driver = |healthy, at| DriverInfo { healthy, update_time: Timestamp(at), ..DriverInfo::default() };
        let node = |healthy, at| {
            let mut node = Node::default();
            node.drivers.insert("qemu".to_owned(), driver(healthy, at));
            node
        };
        let known = Node { meta: [("a".to_owned(), "b".to_owned())].into(), ..node(true, 1) };
        assert_eq!(as_known(node(true, 9), &known), known);
        assert_eq!(as_known(node(false, 9), &known).drivers["qemu"], driver(false, 9));
    }
}
