//! The `job` block.

use crate::shape::{
    Field, Kind, Parsed, Shape, Stored, field_json, int, json_only, many, nullable, one, optional_flag, optional_int,
    optional_text, text, texts,
};
use crate::shapes::constraint::{AFFINITY, CONSTRAINT, SPREAD};
use crate::shapes::group::GROUP;
use crate::shapes::policy::{MIGRATE, RESCHEDULE, UPDATE};
use crate::shapes::task::{SECRET, TASK, VAULT};

/// `job "label" { ... }`. The label becomes id and name where these are not written.
pub static JOB: Shape = Shape {
    label: Some("label"),
    fields: &[
        optional_text("region", "Region").stored(Stored::Keep),
        optional_text("namespace", "Namespace").stored(Stored::TextOrEmpty("default")),
        optional_text("id", "ID"),
        optional_text("name", "Name"),
        optional_text("type", "Type").stored(Stored::TextOrEmpty("service")),
        optional_int("priority", "Priority").stored(Stored::Int(50)),
        optional_flag("all_at_once", "AllAtOnce"),
        texts("datacenters", "Datacenters"),
        optional_text("node_pool", "NodePool").stored(Stored::TextOrEmpty("default")),
        many("constraint", "Constraints", &CONSTRAINT),
        many("affinity", "Affinities", &AFFINITY),
        many("group", "TaskGroups", &GROUP),
        one("update", "Update", &UPDATE),
        one("multiregion", "Multiregion", &MULTIREGION),
        many("spread", "Spreads", &SPREAD),
        one("periodic", "Periodic", &PERIODIC),
        one("parameterized", "ParameterizedJob", &PARAMETERIZED),
        one("reschedule", "Reschedule", &RESCHEDULE),
        one("migrate", "Migrate", &MIGRATE),
        nullable("meta", "Meta", Kind::TextMapEither),
        one("ui", "UI", &UI),
        Field { hcl: "task", json: "", kind: Kind::Many(&TASK), ..ABSENT },
        Field { hcl: "vault", json: "", kind: Kind::One(&VAULT), ..ABSENT },
        Field { hcl: "secret", json: "", kind: Kind::Many(&SECRET), ..ABSENT },
        field_json("Stop", Kind::Bool, Parsed::Null),
        // Only the servers say what a job came from.
        field_json("ParentID", Kind::Text, Parsed::Null).stored(Stored::Dropped),
        field_json("Dispatched", Kind::Bool, Parsed::Zero).stored(Stored::Dropped),
        field_json("DispatchIdempotencyToken", Kind::Text, Parsed::Null).stored(Stored::Dropped),
        field_json("Payload", Kind::Text, Parsed::Null).stored(Stored::Keep),
        field_json("ConsulNamespace", Kind::Text, Parsed::Null).stored(Stored::Dropped),
        field_json("VaultNamespace", Kind::Text, Parsed::Null),
        field_json("NomadTokenID", Kind::Text, Parsed::Null).stored(Stored::Dropped),
        json_only("Status").stored(Stored::Gone),
        json_only("StatusDescription").stored(Stored::Gone),
        json_only("Stable").stored(Stored::Gone),
        json_only("Version").stored(Stored::Gone),
        json_only("SubmitTime").stored(Stored::Gone),
        json_only("CreateIndex").stored(Stored::Gone),
        json_only("ModifyIndex").stored(Stored::Gone),
        json_only("JobModifyIndex").stored(Stored::Gone),
        one("", "VersionTag", &VERSION_TAG),
    ],
    finish: None,
};

/// A block that is dealt out to what is below and leaves no key.
pub const ABSENT: Field =
    Field { hcl: "", json: "", kind: Kind::Json, is_required: false, parsed: Parsed::Absent, stored: Stored::Gone };

static VERSION_TAG: Shape = Shape::plain(&[text("", "Name"), text("", "Description"), int("", "TaggedTime")]);
static UI: Shape = Shape::plain(&[text("description", "Description"), many("link", "Links", &LINK)]);
static LINK: Shape = Shape::plain(&[text("label", "Label"), text("url", "URL")]);

static PERIODIC: Shape = Shape::plain(&[
    optional_flag("enabled", "Enabled").stored(Stored::Bool(true)),
    optional_text("cron", "Spec"),
    texts("crons", "Specs").stored(Stored::KeepEmpty),
    field_json("SpecType", Kind::Text, Parsed::Null).stored(Stored::Text("cron")),
    optional_flag("prohibit_overlap", "ProhibitOverlap"),
    optional_text("time_zone", "TimeZone").stored(Stored::TextOrEmpty("UTC")),
])
.finished_by(|body, _, _, _| {
    if !body["Spec"].is_null() || !body["Specs"].is_null() {
        body.insert("SpecType".to_owned(), "cron".into());
    }
});

static PARAMETERIZED: Shape = Shape::plain(&[
    text("payload", "Payload").stored(Stored::TextOrEmpty("optional")),
    texts("meta_required", "MetaRequired"),
    texts("meta_optional", "MetaOptional"),
]);

static MULTIREGION: Shape =
    Shape::plain(&[one("strategy", "Strategy", &STRATEGY).stored(Stored::Zero), many("region", "Regions", &REGION)]);
static STRATEGY: Shape =
    Shape::plain(&[optional_int("max_parallel", "MaxParallel"), optional_text("on_failure", "OnFailure")]);
static REGION: Shape = Shape::labelled(
    "Name",
    &[
        optional_int("count", "Count").stored(Stored::Int(1)),
        texts("datacenters", "Datacenters"),
        text("node_pool", "NodePool"),
        nullable("meta", "Meta", Kind::TextMapBlock),
    ],
);
