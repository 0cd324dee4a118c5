//! Blocks that are handed on as they are: the settings of drivers and autoscalers.

use std::collections::BTreeMap;

use drover_hcl::{Block, Body, Value as Hcl};
use serde_json::{Map, Value, json};

/// A body as JSON: blocks become lists of objects (labels nest), an object given as an attribute becomes a list of
/// one object, nulls are left out.
pub fn body(body: &Body) -> Map<String, Value> {
    let mut map = Map::new();
    for attribute in &body.attributes {
        let value = match &attribute.value {
            Hcl::Null => continue,
            value if value.as_entries().is_some() => json!([value.to_json()]),
            value => value.to_json(),
        };
        map.insert(attribute.name.clone(), value);
    }
    let mut blocks: BTreeMap<&String, Value> = BTreeMap::new();
    for block in &body.blocks {
        if let Some(list) = blocks.entry(&block.kind).or_insert_with(|| json!([])).as_array_mut() {
            list.push(labelled(block));
        }
    }
    // An attribute of the same name gives way.
    map.extend(blocks.into_iter().map(|(kind, list)| (kind.clone(), list)));
    map
}

fn labelled(block: &Block) -> Value {
    let inner = Value::Object(self::body(&block.body));
    block.labels.iter().rev().fold(inner, |inner, label| {
        let mut map = Map::new();
        map.insert(label.text.clone(), json!([inner]));
        Value::Object(map)
    })
}
