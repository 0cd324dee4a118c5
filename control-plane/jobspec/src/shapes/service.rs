//! `service`, its checks, and what Connect adds.

use crate::shape::{
    Field, Kind, Shape, Stored, duration, flag, int, many, nullable, one, optional_duration, text, texts,
};
use crate::shapes::connect::CONNECT;
use crate::shapes::task::IDENTITY;

/// `service { ... }` of a group or task. A name is given and templates in it are replaced by `canonicalize`.
pub static SERVICE: Shape = Shape::plain(&[
    text("name", "Name"),
    texts("tags", "Tags"),
    texts("canary_tags", "CanaryTags"),
    flag("enable_tag_override", "EnableTagOverride"),
    text("port", "PortLabel"),
    text("address_mode", "AddressMode").stored(Stored::TextOrEmpty("auto")),
    text("address", "Address"),
    many("check", "Checks", &CHECK),
    one("check_restart", "CheckRestart", &CHECK_RESTART).stored(Stored::Gone),
    one("connect", "Connect", &CONNECT),
    nullable("meta", "Meta", Kind::TextMapBlock),
    nullable("canary_meta", "CanaryMeta", Kind::TextMapBlock),
    nullable("tagged_addresses", "TaggedAddresses", Kind::TextMapBlock),
    text("task", "TaskName"),
    text("on_update", "OnUpdate").stored(Stored::TextOrEmpty("require_healthy")),
    one("identity", "Identity", &IDENTITY),
    one("weights", "Weights", &WEIGHTS),
    text("provider", "Provider").stored(Stored::TextOrEmpty("consul")),
    text("cluster", "Cluster").stored(Stored::TextOrEmpty("default")),
    text("kind", "Kind"),
]);

static WEIGHTS: Shape = Shape::plain(&[int("passing", "Passing"), int("warning", "Warning")]);

/// `check_restart { ... }` of a service or check.
pub static CHECK_RESTART: Shape = Shape::plain(&[
    int("limit", "Limit"),
    optional_duration("grace", "Grace").stored(Stored::Int(1_000_000_000)),
    flag("ignore_warnings", "IgnoreWarnings"),
]);

static CHECK: Shape = Shape::plain(&[
    text("name", "Name"),
    text("type", "Type"),
    text("command", "Command"),
    texts("args", "Args"),
    text("path", "Path"),
    text("protocol", "Protocol"),
    text("port", "PortLabel"),
    flag("expose", "Expose"),
    text("address_mode", "AddressMode"),
    Field { stored: Stored::Gone, ..text("advertise", "Advertise") },
    duration("interval", "Interval"),
    duration("timeout", "Timeout"),
    text("initial_status", "InitialStatus"),
    text("notes", "Notes"),
    text("tls_server_name", "TLSServerName"),
    flag("tls_skip_verify", "TLSSkipVerify"),
    nullable("header", "Header", Kind::ListMapBlock),
    text("method", "Method"),
    one("check_restart", "CheckRestart", &CHECK_RESTART),
    text("grpc_service", "GRPCService"),
    flag("grpc_use_tls", "GRPCUseTLS"),
    text("task", "TaskName"),
    int("success_before_passing", "SuccessBeforePassing"),
    int("failures_before_critical", "FailuresBeforeCritical"),
    int("failures_before_warning", "FailuresBeforeWarning"),
    text("body", "Body"),
    text("on_update", "OnUpdate"),
]);
