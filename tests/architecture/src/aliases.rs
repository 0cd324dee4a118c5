//! What is packed has no fields with a second name: its reader tells derived types their fields by number
//! (`drover-state`, `packed/shape.rs`), and serde counts second names too. Fields would be exchanged without a word.

use crate::workspace::{root, rust_files};

#[test]
fn no_packed_field_has_a_second_name() {
    let root = root();
    for part in ["control-plane/model", "control-plane/state"] {
        for file in rust_files(&root.join(part)) {
            let text = std::fs::read_to_string(&file).unwrap();
            let attribute = text.lines().position(|line| line.contains("serde(") && line.contains("alias"));
            assert_eq!(attribute, None, "{}: a serde alias", file.display());
        }
    }
}
