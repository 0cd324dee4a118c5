//! How often and how long: the times of the protocol, all of them ours to choose per server.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::{Config, PeriodicParams};

/// The largest packet that foca makes, in bytes. One with three of the longest identities fits; the usual one is far smaller and
/// goes as a datagram.
const SWIM_PACKET_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// Members that are asked to probe another one, and members that get news at a time.
const FANOUT: NonZeroUsize = NonZeroUsize::new(3).expect("it is not zero");
/// How often a piece of news is handed on by each member.
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(10).expect("it is not zero");

/// The times of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often one member, in turn, is asked whether it lives.
    pub probe_interval: Duration,
    /// How long it has to answer before others are asked to ask it. Less than half of the interval leaves them time.
    pub probe_timeout: Duration,
    /// How long a member that did not answer has to object before it counts as failed.
    pub suspicion: Duration,
    /// How often news is handed on.
    pub gossip_interval: Duration,
    /// How often notes are compared with one member.
    pub sync_interval: Duration,
    /// How often one of the failed members is asked whether it is back.
    pub reconnect_interval: Duration,
    /// How long a failed member is remembered.
    pub failed_max: Duration,
    /// How long a member that left is remembered.
    pub left_max: Duration,
    /// The seed of every random choice.
    pub seed: u64,
}

impl Settings {
    /// The usual times: a dead server is noticed in about five seconds.
    pub fn new(seed: u64) -> Settings {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Settings {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            suspicion: Duration::from_secs(3),
            gossip_interval: Duration::from_millis(200),
            sync_interval: Duration::from_secs(30),
            reconnect_interval: Duration::from_secs(10),
            failed_max: hours(72),
            left_max: hours(24),
            seed,
        }
    }

    pub(crate) fn foca(&self) -> Config {
        Config {
            probe_period: self.probe_interval,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: FANOUT,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: self.suspicion,
            // Long enough for the last old news of it to have died out; members that are gone are remembered in `departed.rs`.
            remove_down_after: Some(Duration::from_secs(3600)),
            max_packet_size: SWIM_PACKET_MAX,
            notify_down_members: true,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams { frequency: self.gossip_interval, num_members: FANOUT }),
        }
    }
}
