//! `network` with its ports.

use serde_json::{Map, Value, json};

use crate::shape::{Field, Kind, Shape, Stored, int, kept_texts, many, nullable, one, optional_int, shorthand, text};

/// `network { ... }` of a group or, obsolete, of a task's resources.
pub static NETWORK: Shape = Shape::plain(&[
    text("mode", "Mode"),
    text("device", "Device").stored(Stored::Dropped),
    text("cidr", "CIDR"),
    text("ip", "IP"),
    one("dns", "DNS", &DNS),
    many("reserved_ports", "ReservedPorts", &PORT),
    many("", "DynamicPorts", &PORT),
    Field { kind: Kind::Many(&PORT), ..shorthand("port") },
    text("hostname", "Hostname"),
    optional_int("mbits", "MBits"),
    one("cni", "CNI", &CNI),
])
.finished_by(|body, _, _, _| deal_ports(body));

static DNS: Shape = Shape::plain(&[
    kept_texts("servers", "Servers"),
    kept_texts("searches", "Searches"),
    kept_texts("options", "Options"),
]);

static CNI: Shape = Shape::plain(&[nullable("args", "Args", Kind::TextMap)]);

static PORT: Shape = Shape::labelled(
    "Label",
    &[
        int("static", "Value"),
        int("to", "To"),
        text("host_network", "HostNetwork").stored(Stored::TextOrEmpty("default")),
        Field { kind: Kind::Bool, ..int("ignore_collision", "IgnoreCollision") },
    ],
);

/// Ports with a number are reserved ones, the others dynamic. As soon as there is one `port` block, what
/// `reserved_ports` blocks gave is lost.
fn deal_ports(body: &mut Map<String, Value>) {
    let Some(Value::Array(ports)) = body.remove("port") else {
        return;
    };
    let (reserved, dynamic): (Vec<Value>, Vec<Value>) =
        ports.into_iter().partition(|port| port["Value"].as_i64().unwrap_or(0) > 0);
    let list = |ports: Vec<Value>| if ports.is_empty() { Value::Null } else { json!(ports) };
    body.insert("ReservedPorts".to_owned(), list(reserved));
    body.insert("DynamicPorts".to_owned(), list(dynamic));
}
