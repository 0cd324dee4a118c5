//! The file of `namespace apply`: a namespace as HCL, to the shape that the API takes.

use drover_hcl::{Block, Problem, Scope, Source};
use serde_json::Value;

use crate::decode::Decoder;
use crate::shape::{Kind, Shape, nullable, one, text, texts};

static NAMESPACE: Shape = Shape::plain(&[
    text("name", "Name"),
    text("description", "Description"),
    text("quota", "Quota"),
    nullable("meta", "Meta", Kind::TextMapEither),
    one("capabilities", "Capabilities", &CAPABILITIES),
]);

static CAPABILITIES: Shape = Shape::plain(&[
    texts("enabled_task_drivers", "EnabledTaskDrivers"),
    texts("disabled_task_drivers", "DisabledTaskDrivers"),
    texts("enabled_network_modes", "EnabledNetworkModes"),
    texts("disabled_network_modes", "DisabledNetworkModes"),
]);

/// Reads a namespace, or gives everything that is wrong with the text.
pub fn parse_namespace(source: &Source) -> Result<Value, Vec<Problem>> {
    let body = drover_hcl::parse(source, &Scope::settings())?;
    let start = body.span.at_start();
    // The file itself stands for the block that it would be written in.
    let file = Block {
        kind: "namespace".to_owned(),
        labels: Vec::new(),
        span: body.span,
        header_span: start,
        kind_span: start,
        open_brace_span: start,
        body,
    };
    let mut decoder = Decoder::new(source);
    let namespace = decoder.block(&file, &NAMESPACE);
    if decoder.problems.is_empty() { Ok(Value::Object(namespace)) } else { Err(decoder.problems) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_read_whole() {
        let text = "name = \"dev\"\ndescription = \"Dev space\"\nmeta {\n  owner = \"ops\"\n}\n\
                    capabilities {\n  enabled_task_drivers = [\"exec\"]\n}\n";
        let namespace = parse_namespace(&Source::new("dev.hcl", text)).unwrap();
        assert_eq!((&namespace["Name"], &namespace["Description"]), (&json!("dev"), &json!("Dev space")));
        assert_eq!(namespace["Meta"], json!({ "owner": "ops" }));
        assert_eq!(namespace["Capabilities"]["EnabledTaskDrivers"], json!(["exec"]));
        assert_eq!(namespace["Capabilities"]["DisabledNetworkModes"], json!(null));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_place() {
        let source = Source::new("dev.hcl", "name = \"dev\"\ncolour = \"red\"\n");
        let problems = parse_namespace(&source).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].one_line(&source).starts_with("dev.hcl:2,1-7: Unsupported argument"), "{problems:?}");
    }
}
