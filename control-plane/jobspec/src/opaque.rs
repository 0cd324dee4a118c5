//! Blocks that are handed on as they are: the settings of drivers and autoscalers.

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
    for block in &body.blocks {
        let list = map.entry(block.kind.clone()).or_insert_with(|| json!([]));
        // An attribute of the same name gives way.
        if !list.is_array() {
            *list = json!([]);
        }
        if let Some(list) = list.as_array_mut() {
            list.push(labelled(block));
        }
    }
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
