//! Amazon's EC2. It is asked with a token, which it gives to whoever asks for one by PUT; older set-ups know none.

use anyhow::Result;

use super::{Cloud, Kind, Look, Shared, Unique};

pub(super) const CLOUD: Cloud = Cloud {
    name: "aws",
    fingerprint: "env_aws",
    variable: "AWS_ENV_URL",
    url: "http://169.254.169.254/latest/meta-data/",
    firmware: &[("sys_vendor", "Amazon EC2"), ("bios_vendor", "Amazon EC2"), ("bios_version", "amazon")],
    headers: &[],
    link: ("aws.ec2", &["platform.aws.placement.availability-zone", "unique.platform.aws.instance-id"]),
    look,
};

const TEXTS: [(Kind, &str, &str); 11] = [
    (Shared, "ami-id", "ami-id"),
    (Shared, "instance-life-cycle", "instance-life-cycle"),
    (Shared, "instance-type", "instance-type"),
    (Shared, "placement/availability-zone", "placement.availability-zone"),
    (Unique, "hostname", "hostname"),
    (Unique, "instance-id", "instance-id"),
    (Unique, "local-hostname", "local-hostname"),
    (Unique, "local-ipv4", "local-ipv4"),
    (Unique, "mac", "mac"),
    (Unique, "public-hostname", "public-hostname"),
    (Unique, "public-ipv4", "public-ipv4"),
];

fn look(look: &mut Look) -> Result<()> {
    look.headers = vec![("X-aws-ec2-metadata-token-ttl-seconds", "60".to_owned())];
    let (status, token) = look.answer("/latest/api/token", true)?;
    look.headers.clear();
    if status == 200 {
        look.headers.push(("X-aws-ec2-metadata-token", token));
    }
    look.texts(&TEXTS)?;
    if let Some(mac) = look.found.get("unique.platform.aws.mac") {
        let addresses = look.text(&format!("network/interfaces/macs/{mac}/ipv6s"))?.unwrap_or_default();
        look.set(Unique, "public-ipv6", addresses.lines().next().unwrap_or_default());
    }
    Ok(())
}
