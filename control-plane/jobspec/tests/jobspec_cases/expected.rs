//! What is reached, and what is not with its reason.

/// Job files that parse to exactly the recorded JSON.
pub const PARSED_LEAST: usize = 139;
/// Job files that do not.
pub const NOT_PARSED: &[(&str, &str)] = &[("fn-encoding", "there is no yamldecode function")];

/// Jobs that are stored exactly as recorded.
pub const REGISTERED_LEAST: usize = 87;
/// Jobs that are not.
pub const NOT_REGISTERED: &[(&str, &str)] = &[
    ("connect-gateway-mesh", CONNECT),
    ("connect-native", CONNECT),
    ("connect-sidecar", CONNECT),
    ("connect-sidecar-minimal", CONNECT),
    ("connect-transparent-proxy", CONNECT),
    ("volume-unknown-type-dropped", "an empty map of volumes is stored as null"),
];
const CONNECT: &str = "services are left out, so no proxy task and port are added for them";

/// Broken job files whose errors are exactly as recorded.
pub const ERRORS_LEAST: usize = 60;
/// Broken job files whose errors are not.
pub const OTHER_ERRORS: &[(&str, &str)] = &[];

/// Refused jobs whose errors are exactly as recorded.
pub const REFUSALS_LEAST: usize = 62;
/// Refused jobs whose errors are not.
pub const OTHER_REFUSALS: &[(&str, &str)] = &[
    ("invalid-job-namespace", "the server knows the namespaces"),
    ("invalid-multiregion", "the server refuses what is not supported, in own words"),
    ("invalid-schedule", "a schedule fails the setup of its task instead"),
    ("invalid-secret-group-and-task", "a task beside the group's secrets gets both, nothing is doubled"),
    ("invalid-system-scaling", "it is one error among others, not an answer of its own"),
];
