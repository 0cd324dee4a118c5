//! What libcontainer wants of its cgroup library, doing nothing.
//!
//! The supervisor makes a task's cgroups, sets their limits and device rules, and has the container's helper join them before libcontainer
//! is called: whatever that forks is born there. libcontainer's own library would look for twelve hierarchies in the mounts of the
//! host, join each of them by the way that waits for a grace period of the kernel, and, where a start fails, kill whatever is
//! in them: most of the time that a start took.

#![deny(missing_docs, unsafe_code)]

pub mod common;
