//! The syntax tree that is evaluated. It owns nothing of the parser, so that only `build` knows that one.

use crate::source::Span;
use crate::value::Value;

/// A body before evaluation.
#[derive(Debug, Default)]
pub(crate) struct BodyTree {
    pub attributes: Vec<AttributeTree>,
    pub blocks: Vec<BlockTree>,
    pub span: Span,
}

impl BodyTree {
    pub fn attribute(&self, name: &str) -> Option<&AttributeTree> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }
}

/// An attribute before evaluation.
#[derive(Debug)]
pub(crate) struct AttributeTree {
    pub name: String,
    pub name_span: Span,
    pub value: Expr,
    pub span: Span,
}

/// A block before evaluation.
#[derive(Debug)]
pub(crate) struct BlockTree {
    pub kind: String,
    pub kind_span: Span,
    pub labels: Vec<crate::decoded::Label>,
    pub open_brace_span: Span,
    pub body: BodyTree,
    pub span: Span,
}

impl BlockTree {
    pub fn header_span(&self) -> Span {
        self.labels.last().map_or(self.kind_span, |label| self.kind_span.to(label.span))
    }
}

/// An expression and its place.
#[derive(Debug)]
pub(crate) struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) enum ExprKind {
    Literal(Value),
    /// Text with holes.
    Template(Vec<Part>),
    /// A text that is one hole and nothing else: keeps the type of what is in it.
    Wrapped(Box<Hole>),
    /// A root name and the steps that follow it.
    Reference {
        name: String,
        name_span: Span,
        steps: Vec<Step>,
    },
    /// Steps from another expression.
    Access {
        base: Box<Expr>,
        steps: Vec<Step>,
    },
    Paren(Box<Expr>),
    Tuple(Vec<Expr>),
    Object(Vec<(Expr, Expr)>),
    For(Box<ForTree>),
    Call(Box<CallTree>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary {
        operator: Operator,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Conditional {
        condition: Box<Expr>,
        yes: Box<Expr>,
        no: Box<Expr>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
}

/// One step of a traversal.
#[derive(Debug)]
pub(crate) struct Step {
    pub kind: StepKind,
    pub span: Span,
}

#[derive(Debug)]
pub(crate) enum StepKind {
    /// `.name`
    Attribute(String),
    /// `.0` or `["literal"]` or `[0]`
    Literal(Value),
    /// `[expression]`
    Index(Expr),
    /// `.*`
    AttributeSplat,
    /// `[*]`
    FullSplat,
}

#[derive(Debug)]
pub(crate) struct ForTree {
    pub key_name: Option<String>,
    pub value_name: String,
    pub collection: Expr,
    /// Given for `{...}`, missing for `[...]`.
    pub key: Option<Expr>,
    pub value: Expr,
    pub condition: Option<Expr>,
    pub is_grouping: bool,
}

#[derive(Debug)]
pub(crate) struct CallTree {
    pub name: String,
    pub name_span: Span,
    pub open_span: Span,
    pub close_span: Span,
    pub arguments: Vec<Expr>,
    /// `f(list...)`
    pub is_expanding: bool,
}

/// `${...}` in a text.
#[derive(Debug)]
pub(crate) struct Hole {
    pub value: Expr,
    /// From `${` to `}`.
    pub span: Span,
    /// Whether it has a `~`: then an unknown reference is not kept as it was written.
    pub is_trimming: bool,
}

/// One part of a text with holes.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    Hole(Hole),
    If { condition: Expr, yes: Vec<Part>, no: Vec<Part> },
    For { key_name: Option<String>, value_name: String, collection: Expr, body: Vec<Part> },
}
