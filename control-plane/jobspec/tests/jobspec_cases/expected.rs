//! What is reached, and what is not with its reason.

/// Job files that parse to exactly the recorded JSON.
pub const PARSED_LEAST: usize = 144;
/// Job files that do not.
pub const NOT_PARSED: &[(&str, &str)] = &[];

/// Jobs that are stored exactly as recorded.
pub const REGISTERED_LEAST: usize = 101;
/// Jobs that are not.
pub const NOT_REGISTERED: &[(&str, &str)] = &[];

/// Broken job files whose errors are exactly as recorded.
pub const ERRORS_LEAST: usize = 63;
/// Broken job files whose errors are not.
pub const OTHER_ERRORS: &[(&str, &str)] = &[];

/// Refused jobs whose errors are exactly as recorded.
pub const REFUSALS_LEAST: usize = 67;
/// Refused jobs whose errors are not.
pub const OTHER_REFUSALS: &[(&str, &str)] = &[];
