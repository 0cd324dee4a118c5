//! Network namespaces of a test's own, joined by a wire.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Tests of one process run at once: each has namespaces of its own.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Two network namespaces with a wire between them; gone when this is dropped. Needs root and `ip`.
pub struct TwoNetworks {
    /// Names of the namespaces.
    pub names: [String; 2],
    /// Their addresses on the wire.
    pub addresses: [String; 2],
}

impl TwoNetworks {
    /// Makes them; `None` for anyone but root, said aloud.
    ///
    /// # Panics
    /// Root could not make them: that is a test that fails, not one that may be skipped.
    #[must_use]
    pub fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return None;
        }
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let names = [format!("drv-{id}-a"), format!("drv-{id}-b")];
        for name in &names {
            ip_or_panic(&["netns", "add", name]);
        }
        let networks = Self { names, addresses: ["10.77.0.1".to_owned(), "10.77.0.2".to_owned()] };
        let [a, b] = &networks.names;
        ip_or_panic(&["link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b]);
        for (name, address) in networks.names.iter().zip(&networks.addresses) {
            ip_or_panic(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "wire"]);
            ip_or_panic(&["-n", name, "link", "set", "wire", "up"]);
            ip_or_panic(&["-n", name, "link", "set", "lo", "up"]);
        }
        Some(networks)
    }

    /// A command that runs in one of them, as the process that is started.
    pub fn command(&self, place: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[place]]).arg(program).stdin(Stdio::null());
        command
    }
}

impl Drop for TwoNetworks {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = ip(&["netns", "del", name]) {
                eprintln!("{error}");
            }
        }
    }
}

fn ip_or_panic(args: &[&str]) {
    if let Err(error) = ip(args) {
        panic!("{error}");
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
