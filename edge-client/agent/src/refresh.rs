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
use crate::{devices, fingerprint};

/// How often it is looked without a word of the kernel: not everything has one (a driver's program, a full disk).
const PERIOD: Duration = Duration::from_secs(60);
/// A change often comes in several parts: it is over when nothing was heard for so long.
const QUIET: Duration = Duration::from_millis(500);
/// The shortest time between two changes that the servers are told of, with jitter: many edges may see the same change.
const BETWEEN_MIN: Duration = Duration::from_secs(5);

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
        let this = Arc::new(self);
        loop {
            tokio::select! {
                () = events.changed(Instant::now() + with_jitter(PERIOD)) => events.settled(QUIET).await,
                () = this.asked.notified() => {}
            }
            let looking = this.clone();
            let has_changed = tokio::task::spawn_blocking(move || looking.look()).await.unwrap_or(false);
            if has_changed {
                tracing::info!("the node's description has changed");
                let rest = tokio::time::sleep(with_jitter(BETWEEN_MIN * 2));
                tokio::select! {
                    () = rest => {}
                    // A person does not cause storms.
                    () = this.asked.notified() => this.asked.notify_one(),
                }
            }
        }
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

/// The node as it was found, with what is not found but said, and the times of what has not changed.
fn as_known(mut now: Node, known: &Node) -> Node {
    now.meta.clone_from(&known.meta);
    for (name, driver) in &mut now.drivers {
        if let Some(before) = known.drivers.get(name) {
            let later = std::mem::replace(&mut driver.update_time, before.update_time);
            if driver != before {
                driver.update_time = later;
            }
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use drover_model::Timestamp;
    use drover_model::node::DriverInfo;

    use super::*;

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
