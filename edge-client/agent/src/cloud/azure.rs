//! Microsoft's Azure: one answer about the machine and one about its network. Its firmware's vendor is that of every Hyper-V; the tag of the case is Azure's own.

use anyhow::Result;
use serde_json::Value;

use super::{Cloud, Kind, Look, Shared, Unique};

pub(super) const CLOUD: Cloud = Cloud {
    name: "azure",
    fingerprint: "env_azure",
    variable: "AZURE_ENV_URL",
    url: "http://169.254.169.254/metadata/instance/",
    firmware: &[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")],
    headers: &[("Metadata", "true")],
    link: ("azure", &["unique.platform.azure.id"]),
    look,
};

const OF_MACHINE: [(Kind, &str, &str); 7] = [
    (Shared, "/location", "location"),
    (Shared, "/resourceGroupName", "resource-group"),
    (Shared, "/vmScaleSetName", "scale-set"),
    (Shared, "/vmSize", "vm-size"),
    (Shared, "/zone", "zone"),
    (Unique, "/vmId", "id"),
    (Unique, "/name", "name"),
];
const OF_NETWORK: [(Kind, &str, &str); 5] = [
    (Unique, "/interface/0/ipv4/ipAddress/0/privateIpAddress", "local-ipv4"),
    (Unique, "/interface/0/ipv4/ipAddress/0/publicIpAddress", "public-ipv4"),
    (Unique, "/interface/0/ipv6/ipAddress/0/privateIpAddress", "local-ipv6"),
    (Unique, "/interface/0/ipv6/ipAddress/0/publicIpAddress", "public-ipv6"),
    (Unique, "/interface/0/macAddress", "mac"),
];

fn look(look: &mut Look) -> Result<()> {
    let compute = look.json("compute?api-version=2019-06-04&format=json")?;
    look.values(&compute, &OF_MACHINE);
    let network = look.json("network?api-version=2019-06-04&format=json")?;
    look.values(&network, &OF_NETWORK);
    for tag in compute.get("tagsList").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default();
        look.set_given("tag", text("name"), text("value"));
    }
    Ok(())
}
