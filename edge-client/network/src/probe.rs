//! Whether this machine can have bridge networks: tried out in a network namespace that is gone afterwards.

use std::net::{IpAddr, Ipv4Addr};

use crate::link::Links;
use crate::rules::{self, Way};
use crate::subnet::Subnet;
use crate::{bridge, namespace};

const NAME: &str = "drover-probe";

/// Tries everything that a bridge network needs; the error says what this machine lacks, in a few words.
///
/// # Errors
/// Not root, or the kernel lacks something.
pub fn probe() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("bridge networks need root".to_owned());
    }
    let mut doing = "make a network namespace";
    namespace::in_passing(|| {
        doing = "make a bridge";
        let mut links = Links::open()?;
        links.add_bridge(NAME, bridge::hardware_address(""))?;
        doing = "let the host pass packets on";
        bridge::settle(NAME, false).map_err(std::io::Error::other)?;
        doing = "use nf_tables";
        let range = Subnet::around(Ipv4Addr::new(172, 26, 64, 0).into(), 20);
        let to = IpAddr::from([172, 26, 64, 2]);
        let ways = [Way { host_ip: None, host_port: 1, to, port: 1 }];
        rules::write(NAME, NAME, &[range], &ways)
    })
    .map_err(|error| format!("can't {doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_leaves_nothing() {
        match probe() {
            Ok(()) => assert_eq!(Links::open().unwrap().find(NAME).unwrap(), None),
            Err(reason) => println!("skipped: {reason}"),
        }
    }
}
