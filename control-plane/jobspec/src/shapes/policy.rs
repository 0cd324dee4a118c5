//! The policies of a group: update, migrate, reschedule, restart, disconnect, disk, scaling.

use serde_json::json;

use drover_hcl::{Attribute, Problem, Span};

use crate::shape::{
    Field, Kind, Parsed, Shape, Stored, field_json, int, json_only, nullable, optional_duration, optional_flag,
    optional_int, optional_text, text,
};

/// `update { ... }`; what is unset is filled from the job's block and the defaults by `canonicalize`.
pub static UPDATE: Shape = Shape::plain(&[
    optional_duration("stagger", "Stagger"),
    optional_int("max_parallel", "MaxParallel"),
    optional_text("health_check", "HealthCheck"),
    optional_duration("min_healthy_time", "MinHealthyTime"),
    optional_duration("healthy_deadline", "HealthyDeadline"),
    optional_duration("progress_deadline", "ProgressDeadline"),
    optional_int("canary", "Canary"),
    optional_flag("auto_revert", "AutoRevert"),
    optional_flag("auto_promote", "AutoPromote"),
]);

/// `migrate { ... }`.
pub static MIGRATE: Shape = Shape::plain(&[
    optional_int("max_parallel", "MaxParallel"),
    optional_text("health_check", "HealthCheck"),
    optional_duration("min_healthy_time", "MinHealthyTime"),
    optional_duration("healthy_deadline", "HealthyDeadline"),
]);

/// `reschedule { ... }`.
pub static RESCHEDULE: Shape = Shape::plain(&[
    optional_int("attempts", "Attempts"),
    optional_duration("interval", "Interval"),
    optional_duration("delay", "Delay"),
    optional_text("delay_function", "DelayFunction"),
    optional_duration("max_delay", "MaxDelay"),
    optional_flag("unlimited", "Unlimited"),
]);

/// `restart { ... }`.
pub static RESTART: Shape = Shape::plain(&[
    optional_duration("interval", "Interval"),
    optional_int("attempts", "Attempts"),
    optional_duration("delay", "Delay"),
    optional_text("mode", "Mode"),
    optional_flag("render_templates", "RenderTemplates"),
]);

/// `disconnect { ... }`.
pub static DISCONNECT: Shape = Shape::plain(&[
    optional_duration("lost_after", "LostAfter"),
    optional_duration("stop_on_client_after", "StopOnClientAfter").stored(Stored::Keep),
    optional_flag("replace", "Replace").stored(Stored::Bool(true)),
    optional_text("reconcile", "Reconcile").stored(Stored::TextOrEmpty("best_score")),
]);

/// `ephemeral_disk { ... }`.
pub static EPHEMERAL_DISK: Shape = Shape::plain(&[
    optional_flag("sticky", "Sticky"),
    optional_flag("migrate", "Migrate"),
    optional_int("size", "SizeMB").stored(Stored::Int(300)),
]);

/// `scaling { ... }` of a group.
pub static GROUP_SCALING: Shape = Shape::plain(&[
    nullable("min", "Min", ANY_INT),
    nullable("max", "Max", ANY_INT).required(),
    nullable("policy", "Policy", Kind::Opaque).stored(Stored::KeepEmpty),
    optional_flag("enabled", "Enabled").stored(Stored::Bool(true)),
    text("type", "Type").parsed(Parsed::Text("horizontal")),
    SCALING_ID,
    SCALING_NAMESPACE,
    json_only("Target"),
    int("", "CreateIndex"),
    int("", "ModifyIndex"),
])
.finished_by(|body, block, _, problems| {
    let kind = body["Type"].as_str().unwrap_or_default();
    if kind != "horizontal" {
        let span = block.body.attribute("type").map_or(block.header_span, whole_value);
        problems.push(Problem::new(
            span,
            "Invalid group scaling type",
            format!("task group scaling policy had invalid type: {kind:?}"),
        ));
    }
});

/// `scaling "cpu" { ... }` of a task.
pub static TASK_SCALING: Shape = Shape {
    label: Some("label"),
    fields: &[
        optional_int("min", "Min"),
        nullable("max", "Max", ANY_INT).stored(Stored::Int(-1)),
        nullable("policy", "Policy", Kind::Opaque).stored(Stored::KeepEmpty),
        optional_flag("enabled", "Enabled").stored(Stored::Bool(true)),
        text("type", "Type"),
        SCALING_ID,
        SCALING_NAMESPACE,
        json_only("Target"),
        int("", "CreateIndex"),
        int("", "ModifyIndex"),
    ],
    finish: Some(|body, block, _, problems| {
        let label = body.remove("label");
        let kind = match label.as_ref().and_then(|label| label.as_str()).map(str::to_lowercase).as_deref() {
            Some("cpu") => "vertical_cpu",
            Some("mem") => "vertical_mem",
            _ => {
                let span = block.labels.first().map_or(block.header_span, |label| label.span);
                problems.push(Problem::new(
                    span,
                    "Invalid scaling policy name",
                    r#"scaling policy name must be "cpu" or "mem""#,
                ));
                return;
            }
        };
        let written = body["Type"].as_str().unwrap_or_default();
        if !written.is_empty() && written != kind {
            problems.push(Problem::new(
                block.header_span,
                "Invalid scaling policy type",
                format!("Invalid policy type, expected {written:?} but found {kind:?}"),
            ));
        }
        body.insert("Type".to_owned(), json!(kind));
    }),
};

const ANY_INT: Kind = Kind::Int(i64::MIN, i64::MAX);
const SCALING_ID: Field = field_json("ID", Kind::Text, Parsed::Zero);
const SCALING_NAMESPACE: Field = field_json("Namespace", Kind::Text, Parsed::Zero).stored(Stored::Gone);

/// The place of a value with its quotes, if it has any.
fn whole_value(attribute: &Attribute) -> Span {
    let value = attribute.value_span;
    let quotes = attribute.span.end.saturating_sub(value.end);
    Span { start: value.start.saturating_sub(quotes), end: value.end + quotes }
}
