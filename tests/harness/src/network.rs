//! Network namespaces of a test's own, joined by a wire.

use std::process::{Command, Stdio};

/// Two network namespaces with a wire between them; gone when this is dropped. Needs root and `ip`.
pub struct TwoNetworks {
    /// Names of the namespaces.
    pub names: [String; 2],
    /// Their addresses on the wire.
    pub addresses: [String; 2],
}

impl TwoNetworks {
    /// Makes them, or says why it can't.
    ///
    /// # Errors
    /// Not root, or no `ip`.
    pub fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".to_owned());
        }
        let id = std::process::id();
        let names = [format!("drv-{id}-a"), format!("drv-{id}-b")];
        let networks = Self { names, addresses: ["10.77.0.1".to_owned(), "10.77.0.2".to_owned()] };
        let [a, b] = &networks.names;
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        ip(&["link", "add", "wire", "netns", a, "type", "veth", "peer", "name", "wire", "netns", b])?;
        for (name, address) in networks.names.iter().zip(&networks.addresses) {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "wire"])?;
            ip(&["-n", name, "link", "set", "wire", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(networks)
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

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}
