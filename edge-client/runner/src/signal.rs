//! Signals by name.

/// What asks a task to end unless its job names another.
pub const DEFAULT_KILL: &str = "SIGINT";

/// The names that a job may use, as the node tells them to the servers.
pub const NAMES: &[(&str, i32)] = &[
    ("SIGABRT", 6),
    ("SIGALRM", 14),
    ("SIGBUS", 7),
    ("SIGCHLD", 17),
    ("SIGCONT", 18),
    ("SIGFPE", 8),
    ("SIGHUP", 1),
    ("SIGILL", 4),
    ("SIGINT", 2),
    ("SIGIO", 29),
    ("SIGIOT", 6),
    ("SIGKILL", 9),
    ("SIGNULL", 0),
    ("SIGPIPE", 13),
    ("SIGPROF", 27),
    ("SIGQUIT", 3),
    ("SIGSEGV", 11),
    ("SIGSTOP", 19),
    ("SIGSYS", 31),
    ("SIGTERM", 15),
    ("SIGTRAP", 5),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGWINCH", 28),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
];

/// The number of a signal; an empty or unknown name stands for the default.
pub fn number(name: &str) -> i32 {
    let by_name = |wanted: &str| NAMES.iter().find(|(name, _)| *name == wanted).map(|(_, number)| *number);
    by_name(name).or_else(|| by_name(DEFAULT_KILL)).unwrap_or(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_numbers() {
        assert_eq!((number("SIGTERM"), number(""), number("SIGBAD")), (15, 2, 2));
    }
}
