//! DigitalOcean's droplets.

use anyhow::Result;

use super::{Cloud, Kind, Look, Shared, Unique};

pub(super) const CLOUD: Cloud = Cloud {
    name: "digitalocean",
    fingerprint: "env_digitalocean",
    variable: "DO_ENV_URL",
    url: "http://169.254.169.254/metadata/v1/",
    firmware: &[("sys_vendor", "DigitalOcean")],
    headers: &[],
    link: ("digitalocean", &["unique.platform.digitalocean.id"]),
    look,
};

const TEXTS: [(Kind, &str, &str); 8] = [
    (Shared, "region", "region"),
    (Unique, "hostname", "hostname"),
    (Unique, "id", "id"),
    (Unique, "interfaces/private/0/ipv4/address", "private-ipv4"),
    (Unique, "interfaces/private/0/ipv6/address", "private-ipv6"),
    (Unique, "interfaces/public/0/ipv4/address", "public-ipv4"),
    (Unique, "interfaces/public/0/ipv6/address", "public-ipv6"),
    (Unique, "interfaces/public/0/mac", "mac"),
];

fn look(look: &mut Look) -> Result<()> {
    look.texts(&TEXTS)
}
