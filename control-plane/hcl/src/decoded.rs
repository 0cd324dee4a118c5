//! The tree that comes out: bodies of attributes and blocks, all values settled, each with its place.

use crate::source::Span;
use crate::value::Value;

/// What stands between two braces, or in a whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// `name = value`, in the order of the source.
    pub attributes: Vec<Attribute>,
    /// `kind "label" { ... }`, in the order of the source; blocks made by `dynamic` stand where it stood.
    pub blocks: Vec<Block>,
    /// From the opening to the closing brace; the whole text for a file.
    pub span: Span,
}

impl Body {
    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// All blocks of that kind.
    pub fn blocks_of<'b>(&'b self, kind: &'b str) -> impl Iterator<Item = &'b Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }
}

/// `name = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Value,
    /// From the name to the end of the value.
    pub span: Span,
    /// The name alone.
    pub name_span: Span,
    /// The value alone; inside the quotes for plain text.
    pub value_span: Span,
}

/// `kind "label" { ... }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What kind of block.
    pub kind: String,
    /// Its labels.
    pub labels: Vec<Label>,
    /// What is inside.
    pub body: Body,
    /// From the kind to the closing brace.
    pub span: Span,
    /// From the kind to the last label.
    pub header_span: Span,
    /// The kind alone.
    pub kind_span: Span,
    /// The opening brace.
    pub open_brace_span: Span,
}

impl Block {
    /// The text of a label, counted from 0.
    pub fn label(&self, index: usize) -> Option<&str> {
        self.labels.get(index).map(|label| label.text.as_str())
    }

    /// Where to report something that is missing inside: the empty span at the opening brace.
    pub fn missing_span(&self) -> Span {
        self.open_brace_span.at_start()
    }
}

/// One label of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Its text, without quotes.
    pub text: String,
    /// Its place, with quotes.
    pub span: Span,
}
