//! How fast the servers of a region miss each other.

use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_millis(50);
const ELECTION_MIN: Duration = Duration::from_millis(150);
const ELECTION_MAX: Duration = Duration::from_millis(300);
const LEASE_READ_AGE_MAX: Duration = Duration::from_millis(100);
const QUORUM_SILENCE_MAX: Duration = Duration::from_millis(500);
const LEADER_SILENCE_MAX: Duration = Duration::from_secs(1);

/// The greatest multiplier.
pub const MULTIPLIER_MAX: u32 = 10;

/// All times of elections, as a multiple of the shortest (`server { raft_multiplier }`). A heartbeat's answer must be back
/// before the next heartbeat is due: 1 is for servers up to 30 ms apart and 5 for the longest way on earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace(u32);

impl Default for Pace {
    fn default() -> Self {
        Self(1)
    }
}

impl Pace {
    /// So many times slower than the fastest; brought between 1 and [`MULTIPLIER_MAX`].
    pub fn new(multiplier: u32) -> Self {
        Self(multiplier.clamp(1, MULTIPLIER_MAX))
    }

    /// Between two heartbeats of a leader.
    pub fn heartbeat(self) -> Duration {
        HEARTBEAT * self.0
    }

    /// The shortest time until a follower that hears nothing asks for an election.
    pub fn election_min(self) -> Duration {
        ELECTION_MIN * self.0
    }

    /// The longest such time; also how long a leader's word holds.
    pub fn election_max(self) -> Duration {
        ELECTION_MAX * self.0
    }

    /// A read asks nobody when a quorum has answered the leader within this time. Followers keep a leader for three times
    /// as long, so no clock that is a little fast makes such a read stale. It is the same at every pace: the others may go at the
    /// fastest, as while their configurations are changed one after the other.
    pub fn lease_read_age_max(self) -> Duration {
        LEASE_READ_AGE_MAX
    }

    /// A leader that has not heard a quorum for so long may have a successor: it holds its leader's duties no longer.
    pub fn quorum_silence_max(self) -> Duration {
        QUORUM_SILENCE_MAX * self.0
    }

    /// A follower that has not heard its leader for so long knows of none: whoever could have elected another has had
    /// the time.
    pub fn leader_silence_max(self) -> Duration {
        LEADER_SILENCE_MAX * self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pace_is_one_that_raft_takes_and_that_reads_are_safe_at() {
        for multiplier in 0..20 {
            let pace = Pace::new(multiplier);
            crate::node::config(crate::node::LogLength::default(), pace).validate().unwrap();
            for of_others in 0..20 {
                assert!(pace.lease_read_age_max() * 3 <= Pace::new(of_others).election_max());
                assert!(pace.lease_read_age_max() < Pace::new(of_others).election_min());
            }
            assert!(pace.election_max() < pace.quorum_silence_max());
        }
        assert_eq!(Pace::new(0), Pace::default());
        assert_eq!(Pace::new(5).heartbeat(), Duration::from_millis(250));
    }
}
