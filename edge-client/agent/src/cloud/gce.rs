//! Google's Compute Engine: everything is one answer.

use anyhow::Result;
use serde_json::Value;

use super::{Cloud, Kind, Look, Shared, Unique, last_part};

pub(super) const CLOUD: Cloud = Cloud {
    name: "gce",
    fingerprint: "env_gce",
    variable: "GCE_ENV_URL",
    url: "http://169.254.169.254/computeMetadata/v1/instance/",
    firmware: &[("product_name", "Google Compute Engine")],
    headers: &[("Metadata-Flavor", "Google")],
    link: ("gce", &["unique.platform.gce.id"]),
    look,
};

const VALUES: [(Kind, &str, &str); 8] = [
    (Shared, "/cpuPlatform", "cpu-platform"),
    (Shared, "/machineType", "machine-type"),
    (Shared, "/scheduling/automaticRestart", "scheduling.automatic-restart"),
    (Shared, "/scheduling/onHostMaintenance", "scheduling.on-host-maintenance"),
    (Shared, "/scheduling/preemptible", "scheduling.preemptible"),
    (Shared, "/zone", "zone"),
    (Unique, "/hostname", "hostname"),
    (Unique, "/id", "id"),
];

fn look(look: &mut Look) -> Result<()> {
    let answer = look.json("?recursive=true")?;
    look.values(&answer, &VALUES);
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for interface in list(&answer, "networkInterfaces") {
        let network = format!("network.{}", last_part(&text(&interface, "network")));
        look.set(Shared, &network, "true");
        look.set(Unique, &format!("{network}.ip"), &text(&interface, "ip"));
        for (number, outside) in list(&interface, "accessConfigs").iter().enumerate() {
            look.set(Unique, &format!("{network}.external-ip.{number}"), &text(outside, "externalIp"));
        }
    }
    for tag in list(&answer, "tags").iter().filter_map(Value::as_str) {
        look.set_given("tag", tag, "true");
    }
    for (name, value) in answer.get("attributes").and_then(Value::as_object).into_iter().flatten() {
        look.set_given("attr", name, value.as_str().unwrap_or_default());
    }
    Ok(())
}
