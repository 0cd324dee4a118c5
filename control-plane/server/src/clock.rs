//! The one place where a server reads the clock.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use drover_leader::moment::Moment;
use drover_model::Timestamp;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Now, in nanoseconds since 1970; the first instant for a clock before that.
pub fn now() -> Timestamp {
    date(SystemTime::now())
}

/// A time of the wall clock, in nanoseconds since 1970; the first instant for one before that.
pub fn date(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Now on a clock that never jumps and tells no date: for how long ago something was heard.
pub fn steady() -> Timestamp {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    Timestamp(0).plus(BEGINNING.get_or_init(Instant::now).elapsed())
}

/// Now on both clocks.
pub fn moment() -> Moment {
    Moment { wall: now(), steady: steady() }
}

/// Tells when somebody has set the wall clock: whoever waits for a date looks again then.
pub struct Jumps(Option<AsyncFd<OwnedFd>>);

/// A date that never comes; the kernel takes none beyond 2262.
const FAR_SECONDS: i64 = 9_000_000_000;

impl Jumps {
    /// From now on. Where the kernel tells nothing of it there are none, and whoever waits looks now and then anyway.
    pub fn watch() -> Self {
        Self(timer().inspect_err(|error| tracing::debug!(%error, "nobody tells when the clock is set")).ok())
    }

    /// Resolves after the clock was set. Dropped half-way nothing is lost.
    pub async fn next(&mut self) {
        let Some(timer) = &self.0 else { return std::future::pending().await };
        let read = timer.async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut [0; 8]).map(drop)?));
        match read.await {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CANCELED.raw_os_error()) => {}
            // It is the far date, or the kernel is out of its mind: no reason to go round and round.
            _ => self.0 = None,
        }
    }
}

/// A timer that ends with an error as soon as the clock is set.
fn timer() -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    let far = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: FAR_SECONDS, tv_nsec: 0 },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &far)?;
    // SAFETY: the descriptor is owned by what is made here: it stays open and the same until that is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
}
