//! HCL or JSON to one tree of named items with places. In JSON an object may stand for a block, as may a list of
//! objects; in HCL too, behind an equals sign.

use drover_hcl::{Block, Body, Place, Problem, Scope, Source, Span, Value};

use crate::spread::{Spread, spread};

/// `name = value` or `name "label" { ... }`.
pub struct Item {
    /// The name, in lower case.
    pub name: String,
    /// As it was written: keys of maps keep their case.
    pub written: String,
    /// Where the name stands.
    pub span: Span,
    /// What it holds.
    pub content: Content,
}

/// What an item holds.
pub enum Content {
    /// A value.
    Value(Value),
    /// A block.
    Block {
        /// Its labels.
        labels: Vec<String>,
        /// What is inside.
        items: Vec<Item>,
    },
}

/// Reads a text; JSON when the first character is `{`.
pub fn read(source: &Source) -> Result<Vec<Item>, Vec<Problem>> {
    if source.text.trim_start().starts_with('{') {
        return read_json(source).map_err(|problem| vec![problem]);
    }
    let spread = spread(&source.text);
    let laid_out = Source { name: source.name.clone(), text: spread.text.clone() };
    match drover_hcl::parse(&laid_out, &Scope::settings()) {
        Ok(body) => Ok(items_of(&body, &spread)),
        Err(mut problems) => {
            for problem in &mut problems {
                if let Place::At(span) = problem.place {
                    problem.place = Place::At(spread.written(span));
                }
            }
            Err(problems)
        }
    }
}

fn items_of(body: &Body, spread: &Spread) -> Vec<Item> {
    let attributes = body.attributes.iter().map(|attribute| Item {
        name: attribute.name.to_lowercase(),
        written: attribute.name.clone(),
        span: spread.written(attribute.name_span),
        content: Content::Value(attribute.value.clone()),
    });
    attributes.chain(body.blocks.iter().map(|block| block_item(block, spread))).collect()
}

fn block_item(block: &Block, spread: &Spread) -> Item {
    let labels = block.labels.iter().map(|label| label.text.clone()).collect();
    Item {
        name: block.kind.to_lowercase(),
        written: block.kind.clone(),
        span: spread.written(block.kind_span),
        content: Content::Block { labels, items: items_of(&block.body, spread) },
    }
}

fn read_json(source: &Source) -> Result<Vec<Item>, Problem> {
    let json: serde_json::Value = serde_json::from_str(&source.text).map_err(|e| {
        let line_start: usize = source.text.split_inclusive('\n').take(e.line().saturating_sub(1)).map(str::len).sum();
        let place = (line_start + e.column().saturating_sub(1)).min(source.text.len());
        let text = e.to_string();
        let reason = text.split(" at line ").next().unwrap_or_default().to_owned();
        Problem::new(Span { start: place, end: place }, "Broken JSON", reason)
    })?;
    match Value::from_json(&json) {
        Value::Object(entries) => Ok(entries_as_items(source, &entries, Span { start: 0, end: 0 })),
        _ => Err(Problem::new(Span { start: 0, end: 0 }, "Broken JSON", "an object is needed")),
    }
}

/// The entries of an object as items. JSON values carry no places, so a name is looked for in the text.
pub fn entries_as_items(
    source: &Source,
    entries: &std::collections::BTreeMap<String, Value>,
    otherwise: Span,
) -> Vec<Item> {
    let place = |name: &str| {
        let quoted = format!("{name:?}");
        source.text.find(&quoted).map_or(otherwise, |start| Span { start, end: start + quoted.len() })
    };
    let item = |(name, value): (&String, &Value)| Item {
        name: name.to_lowercase(),
        written: name.clone(),
        span: place(name),
        content: Content::Value(value.clone()),
    };
    entries.iter().map(item).collect()
}
