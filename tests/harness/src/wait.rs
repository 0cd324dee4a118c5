//! Waiting for a condition.

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

/// The pause between two looks at a condition that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was seen, put into words only when somebody reads them: a look that fails is one of very many, and logs are long.
pub struct Told<F>(pub F);

impl<F: Fn() -> String> Display for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&(self.0)())
    }
}

/// Looks until `look` gives something, for at most `limit`.
///
/// # Panics
/// It does not: the text says what was waited for and what was last seen.
pub fn wait_for<T, E: Display>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if Instant::now() > end => panic!("waited {limit:?} for {what}; last seen: {seen}"),
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
