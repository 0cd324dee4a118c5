//! The supervisor's suite on cgroup v2, whatever the host has: in a small virtual machine whose only file system is an
//! initramfs with busybox and the suite.
//!
//! The machine is emulated, not virtualised: `/dev/kvm` may be there and not work, and a suite of half a minute needs none.
//! `cargo gate packages` gets the emulator, busybox and a kernel; without them the test says what it skips.

pub mod archive;
pub mod guest;
pub mod machine;
pub mod parts;
