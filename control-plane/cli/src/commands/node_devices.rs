//! The devices of a node, as the tables of `node status` show them.

use std::collections::BTreeMap;

use drover_api_client::nodes::{Attribute, DeviceGroupStats, DeviceStats, HostStats, Node, StatObject, StatValue};

use crate::output::table::{Fields, NONE, table};

/// What a value shows that holds nothing.
const UNKNOWN: &str = "<unknown>";
/// Digits behind the point.
const DIGITS_MAX: usize = 3;

/// `<vendor>/<type>/<model>[<id>]`
fn name_of(vendor: &str, kind: &str, name: &str, id: &str) -> String {
    let parts = [vendor, kind, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    format!("{}[{id}]", parts.join("/"))
}

/// Cut, not rounded.
fn decimal(number: f64) -> String {
    let text = number.to_string();
    match text.split_once('.') {
        Some((whole, rest)) => format!("{whole}.{}", rest.chars().take(DIGITS_MAX).collect::<String>()),
        None => text,
    }
}

fn with_unit(text: String, unit: &str) -> String {
    if unit.is_empty() { text } else { format!("{text} {unit}") }
}

fn attribute(attribute: &Attribute) -> String {
    let Attribute { float, int, string, bool, unit } = attribute;
    let number = float.map(decimal).or(int.map(|int| int.to_string()));
    number
        .map(|number| with_unit(number, unit))
        .or(string.clone())
        .or(bool.map(|flag| flag.to_string()))
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

fn stat(value: &StatValue) -> String {
    let of = |part: Option<String>, whole: Option<String>| {
        let part = part?;
        Some(with_unit(whole.map_or(part.clone(), |whole| format!("{part} / {whole}")), &value.unit))
    };
    let float = of(value.float_numerator_val.map(decimal), value.float_denominator_val.map(decimal));
    let int = of(value.int_numerator_val.map(|n| n.to_string()), value.int_denominator_val.map(|n| n.to_string()));
    value
        .bool_val
        .map(|flag| flag.to_string())
        .or(value.string_val.clone())
        .or(float)
        .or(int)
        .unwrap_or_else(|| UNKNOWN.to_owned())
}

fn instances(groups: &[DeviceGroupStats]) -> impl Iterator<Item = (String, &DeviceStats)> {
    groups.iter().flat_map(|group| {
        let name = |id: &String| name_of(&group.vendor, &group.kind, &group.name, id);
        group.instance_stats.iter().map(move |(id, stats)| (name(id), stats))
    })
}

/// One line for each device; none where there is none.
pub fn utilization(node: &Node, stats: &HostStats) -> Option<String> {
    let known: BTreeMap<String, String> = instances(&stats.device_stats)
        .map(|(name, stats)| (name, stats.summary.as_ref().map(stat).unwrap_or_default()))
        .collect();
    let groups = node.node_resources.devices.iter();
    let names = groups.flat_map(|group| {
        group.instances.iter().map(|instance| name_of(&group.vendor, &group.kind, &group.name, &instance.id))
    });
    let told = |name: &String| known.get(name).filter(|text| !text.is_empty()).cloned();
    let mut rows: Vec<Vec<String>> =
        names.map(|name| vec![name.clone(), told(&name).unwrap_or_else(|| NONE.to_owned())]).collect();
    rows.sort();
    let (first, rest) = rows.split_first()?;
    Some(table(&first.iter().map(String::as_str).collect::<Vec<_>>(), rest))
}

/// What is told of each device; none where nothing is.
pub fn stats(stats: &HostStats) -> Option<String> {
    let block = |(name, stats): (String, &DeviceStats)| {
        let mut values = BTreeMap::new();
        stats.stats.iter().for_each(|stats| collect(stats, "", &mut values));
        let mut fields = Fields::new();
        fields.add("Device", name);
        for (name, value) in values {
            fields.add(name, value);
        }
        fields.text()
    };
    let blocks: Vec<String> = instances(&stats.device_stats).map(block).collect();
    (!blocks.is_empty()).then(|| blocks.join("\n\n"))
}

fn collect(stats: &StatObject, prefix: &str, into: &mut BTreeMap<String, String>) {
    let start = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
    into.extend(stats.attributes.iter().map(|(name, value)| (format!("{start}{name}"), stat(value))));
    for (name, nested) in &stats.nested {
        collect(nested, &format!("{start}{name}"), into);
    }
}

/// The attributes of each group that has any; none where none has.
pub fn attributes(node: &Node) -> Option<String> {
    let mut groups: Vec<_> = node.node_resources.devices.iter().filter(|group| !group.attributes.is_empty()).collect();
    groups.sort_by_key(|group| group.id());
    let blocks = groups.iter().map(|group| {
        let mut fields = Fields::new();
        fields.add("Device Group", group.id());
        for (name, value) in &group.attributes {
            fields.add(name.as_str(), attribute(value));
        }
        fields.text()
    });
    let blocks: Vec<String> = blocks.collect();
    (!blocks.is_empty()).then(|| blocks.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_shown() {
        let node: Node = serde_json::from_value(serde_json::json!({ "NodeResources": { "Devices": [
            { "Vendor": "nvidia", "Type": "gpu", "Name": "P4",
              "Instances": [{ "ID": "b" }, { "ID": "a" }],
              "Attributes": { "memory": { "Int": 8, "Unit": "GiB" }, "ecc": { "Bool": true, "Unit": "" },
                              "load": { "Float": 1.23456, "Unit": "" }, "driver": { "String": "1", "Unit": "" } } },
            { "Vendor": "acme", "Type": "modem", "Name": "m", "Instances": [{ "ID": "x" }] },
        ]}}))
        .unwrap();
        let host: HostStats = serde_json::from_value(serde_json::json!({ "DeviceStats": [
            { "Vendor": "nvidia", "Type": "gpu", "Name": "P4", "InstanceStats": { "a": {
                "Summary": { "IntNumeratorVal": 1, "IntDenominatorVal": 8, "Unit": "GiB" },
                "Stats": { "Attributes": { "Power": { "StringVal": "on" } },
                           "Nested": { "mem": { "Attributes": { "used": { "BoolVal": true } } } } } } } },
        ]}))
        .unwrap();
        assert_eq!(
            utilization(&node, &host).unwrap(),
            "acme/modem/m[x]   <none>\nnvidia/gpu/P4[a]  1 / 8 GiB\nnvidia/gpu/P4[b]  <none>"
        );
        assert_eq!(stats(&host).unwrap(), "Device   = nvidia/gpu/P4[a]\nPower    = on\nmem.used = true");
        assert_eq!(
            attributes(&node).unwrap(),
            "Device Group = nvidia/gpu/P4\ndriver       = 1\necc          = true\nload         = 1.234\nmemory       = 8 GiB"
        );
        assert_eq!(utilization(&Node::default(), &host), None);
        assert_eq!((stats(&HostStats::default()), attributes(&Node::default())), (None, None));
    }
}
