//! Why an expression can't be read, or can't be asked of a value. The texts are part of the API.

/// Why a text is no expression: one line per problem, each with its line, column and byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

/// Why an expression could not be asked of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The selector names nothing.
    #[error("error finding value in datum: {0}")]
    Selector(String),
    /// The value of the expression is none of the field's kind.
    #[error("error getting match value in expression: {0}")]
    Value(String),
    /// Fields of this kind are not compared.
    #[error("unable to find suitable primitive comparison function for matching")]
    NotComparable,
    /// Lists of such items are not searched.
    #[error("unable to find suitable primitive comparison function for \"in\" comparison")]
    ItemsNotComparable,
    /// The operator does not go with fields of this kind.
    #[error("cannot perform {operation} operations on type {kind} for selector: {selector:?}")]
    Operation {
        /// Such as `is-empty`.
        operation: &'static str,
        /// The kind of the field.
        kind: &'static str,
        /// The field.
        selector: String,
    },
    /// A regular expression is matched with text only.
    #[error("value of type {0} is not convertible to []byte")]
    NotText(&'static str),
    /// The regular expression is none.
    #[error("failed to compile regular expression {pattern:?}: {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why.
        reason: String,
    },
    /// `any` and `all` go over lists and maps.
    #[error("{0} is not a list or a map")]
    NotIterable(String),
    /// A placeholder is a key or an index and holds nothing.
    #[error("/{name} references a {kind} so /{path} is invalid")]
    Placeholder {
        /// The placeholder.
        name: String,
        /// What it is.
        kind: &'static str,
        /// What was asked of it.
        path: String,
    },
    /// One name for two things.
    #[error("{0:?} cannot be used as a placeholder for both the index and the value")]
    SamePlaceholder(String),
    /// The value is so large, and the expression goes over it so often, that no answer is looked for.
    #[error("the expression looks at more than {0} values")]
    TooLong(usize),
}
