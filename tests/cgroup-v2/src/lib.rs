//! The edge on machines that are not this one: on cgroup v2, whatever the host has, and under a service manager, in small virtual
//! machines whose only file system is an initramfs with busybox and what is tried.
//!
//! They are emulated, not virtualised: `/dev/kvm` may be there and not work, and suites of half a minute need none.
//! `cargo gate packages` gets the emulator, busybox, a kernel and a service manager; without them the tests say what they skip.
//! A further group of cases is a file in `tests/` and a script: fill a [`guest::Guest`], [`machine::boot`] it.

pub mod archive;
pub mod emulator;
pub mod guest;
pub mod machine;
pub mod parts;
pub mod systemd;
