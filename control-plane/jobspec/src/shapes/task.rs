//! The `task` block and what stands in it.

use std::collections::BTreeMap;

use drover_hcl::{Block, Problem, Source, Span};
use serde_json::{Map, Value, json};

use crate::shape::{
    Kind, Parsed, Shape, Stored, duration, flag, kept_texts, many, nullable, one, optional_duration, optional_flag,
    optional_int, optional_text, text, texts,
};
use crate::shapes::constraint::{AFFINITY, CONSTRAINT};
use crate::shapes::network::NETWORK;
use crate::shapes::policy::{RESTART, TASK_SCALING};
use crate::shapes::service::SERVICE;

/// `task "name" { ... }`.
pub static TASK: Shape = Shape::labelled(
    "Name",
    &[
        text("driver", "Driver"),
        text("user", "User"),
        one("lifecycle", "Lifecycle", &LIFECYCLE),
        nullable("config", "Config", Kind::Opaque),
        many("constraint", "Constraints", &CONSTRAINT),
        many("affinity", "Affinities", &AFFINITY),
        nullable("env", "Env", Kind::TextMapEither),
        many("service", "Services", &SERVICE),
        one("resources", "Resources", &RESOURCES).stored(Stored::Zero),
        one("restart", "RestartPolicy", &RESTART),
        nullable("meta", "Meta", Kind::TextMapEither),
        optional_duration("kill_timeout", "KillTimeout").stored(Stored::Int(5_000_000_000)),
        one("logs", "LogConfig", &LOGS).stored(Stored::Zero),
        many("artifact", "Artifacts", &ARTIFACT),
        one("vault", "Vault", &VAULT),
        one("consul", "Consul", &CONSUL),
        many("template", "Templates", &TEMPLATE),
        one("dispatch_payload", "DispatchPayload", &DISPATCH_PAYLOAD),
        many("volume_mount", "VolumeMounts", &VOLUME_MOUNT),
        one("csi_plugin", "CSIPluginConfig", &CSI_PLUGIN).parsed(Parsed::Absent),
        flag("leader", "Leader"),
        duration("shutdown_delay", "ShutdownDelay"),
        text("kill_signal", "KillSignal"),
        text("kind", "Kind"),
        many("scaling", "ScalingPolicies", &TASK_SCALING),
        many("secret", "Secrets", &SECRET),
        one("", "Identity", &IDENTITY),
        many("identity", "Identities", &IDENTITY),
        many("action", "Actions", &ACTION),
        one("schedule", "Schedule", &SCHEDULE),
    ],
)
.finished_by(|body, block, source, problems| {
    scaled_once(block, source, problems);
    move_default_identity(body);
});

/// `resources { ... }`; `cpu` and the rest are filled by `canonicalize`, because `cores` changes them.
pub static RESOURCES: Shape = Shape::plain(&[
    nullable("cpu", "CPU", Kind::Int(i64::MIN, i64::MAX)),
    optional_int("cores", "Cores"),
    optional_int("memory", "MemoryMB").stored(Stored::Int(300)),
    optional_int("memory_max", "MemoryMaxMB"),
    optional_int("disk", "DiskMB").stored(Stored::Dropped),
    many("network", "Networks", &NETWORK),
    many("device", "Devices", &DEVICE),
    one("numa", "NUMA", &NUMA),
    optional_int("secrets", "SecretsMB"),
    optional_int("iops", "IOPS"),
]);

static DEVICE: Shape = Shape::labelled(
    "Name",
    &[
        optional_int("count", "Count").within(0, i64::MAX).stored(Stored::Int(1)),
        many("constraint", "Constraints", &CONSTRAINT),
        many("affinity", "Affinities", &AFFINITY),
    ],
);

static NUMA: Shape =
    Shape::plain(&[text("affinity", "Affinity").stored(Stored::TextOrEmpty("none")), texts("devices", "Devices")]);

/// `logs { ... }`.
pub static LOGS: Shape = Shape::plain(&[
    optional_int("max_files", "MaxFiles").stored(Stored::Int(10)),
    optional_int("max_file_size", "MaxFileSizeMB").stored(Stored::Int(10)),
    optional_flag("enabled", "Enabled").stored(Stored::Gone),
    optional_flag("disabled", "Disabled"),
]);

static LIFECYCLE: Shape = Shape::plain(&[text("hook", "Hook").required(), flag("sidecar", "Sidecar")]);

static ARTIFACT: Shape = Shape::plain(&[
    optional_text("source", "GetterSource"),
    nullable("options", "GetterOptions", Kind::TextMapBlock),
    nullable("headers", "GetterHeaders", Kind::TextMapBlock),
    optional_text("mode", "GetterMode").stored(Stored::TextOrEmpty("any")),
    optional_flag("insecure", "GetterInsecure"),
    optional_text("destination", "RelativeDest").stored(Stored::Keep),
    flag("chown", "Chown"),
]);

static TEMPLATE: Shape = Shape::plain(&[
    optional_text("source", "SourcePath"),
    optional_text("destination", "DestPath"),
    optional_text("data", "EmbeddedTmpl"),
    optional_text("change_mode", "ChangeMode").parsed(Parsed::Text("restart")).stored(Stored::Text("restart")),
    one("change_script", "ChangeScript", &CHANGE_SCRIPT),
    optional_text("change_signal", "ChangeSignal").stored(Stored::Keep),
    optional_flag("once", "Once"),
    optional_duration("splay", "Splay").parsed(Parsed::Int(5_000_000_000)).stored(Stored::Int(5_000_000_000)),
    optional_text("perms", "Perms").parsed(Parsed::Text("0644")).stored(Stored::Text("0644")),
    nullable("uid", "Uid", Kind::Int(i64::MIN, i64::MAX)),
    nullable("gid", "Gid", Kind::Int(i64::MIN, i64::MAX)),
    optional_text("left_delimiter", "LeftDelim").stored(Stored::Text("{{")),
    optional_text("right_delimiter", "RightDelim").stored(Stored::Text("}}")),
    optional_flag("env", "Envvars"),
    optional_duration("vault_grace", "VaultGrace"),
    one("wait", "Wait", &WAIT),
    optional_flag("error_on_missing_key", "ErrMissingKey").parsed(Parsed::Bool(false)),
]);

static CHANGE_SCRIPT: Shape = Shape::plain(&[
    optional_text("command", "Command"),
    texts("args", "Args").stored(Stored::EmptyList),
    optional_duration("timeout", "Timeout").parsed(Parsed::Int(5_000_000_000)).stored(Stored::Int(5_000_000_000)),
    optional_flag("fail_on_error", "FailOnError").parsed(Parsed::Bool(false)),
    optional_flag("run_on_first_render", "RunOnFirstRender").parsed(Parsed::Bool(false)),
])
.finished_by(|body, _, _, _| {
    if body["Args"].is_null() {
        body.insert("Args".to_owned(), json!([]));
    }
});

static WAIT: Shape = Shape::plain(&[
    optional_duration("min", "Min").stored(Stored::Keep),
    optional_duration("max", "Max").stored(Stored::Keep),
]);

/// `vault { ... }`.
pub static VAULT: Shape = Shape::plain(&[
    texts("policies", "Policies").stored(Stored::Gone),
    text("role", "Role"),
    optional_text("namespace", "Namespace"),
    text("cluster", "Cluster").stored(Stored::TextOrEmpty("default")),
    optional_flag("env", "Env").parsed(Parsed::Bool(true)).stored(Stored::Bool(true)),
    optional_flag("disable_file", "DisableFile").parsed(Parsed::Bool(false)),
    optional_text("change_mode", "ChangeMode").parsed(Parsed::Text("restart")).stored(Stored::TextOrEmpty("restart")),
    optional_text("change_signal", "ChangeSignal").stored(Stored::Text("SIGHUP")),
    optional_flag("allow_token_expiration", "AllowTokenExpiration"),
]);

/// `consul { ... }` of a group or task.
pub static CONSUL: Shape = Shape::plain(&[
    text("namespace", "Namespace"),
    text("cluster", "Cluster").stored(Stored::TextOrEmpty("default")),
    text("partition", "Partition"),
]);

/// `secret "name" { ... }`.
pub static SECRET: Shape = Shape::labelled(
    "Name",
    &[
        text("provider", "Provider"),
        text("path", "Path"),
        nullable("config", "Config", Kind::Opaque),
        nullable("env", "Env", Kind::TextMapBlock),
    ],
);

/// `identity { ... }`.
pub static IDENTITY: Shape = Shape::plain(&[
    text("name", "Name"),
    texts("aud", "Audience"),
    text("change_mode", "ChangeMode"),
    text("change_signal", "ChangeSignal"),
    flag("env", "Env"),
    flag("file", "File"),
    text("filepath", "Filepath"),
    text("service_name", "ServiceName"),
    duration("ttl", "TTL"),
    texts("extra_claims", "ExtraClaims"),
]);

static DISPATCH_PAYLOAD: Shape = Shape::plain(&[text("file", "File")]);

/// `volume_mount { ... }`.
pub static VOLUME_MOUNT: Shape = Shape::plain(&[
    optional_text("volume", "Volume"),
    optional_text("destination", "Destination"),
    optional_flag("read_only", "ReadOnly"),
    optional_text("propagation_mode", "PropagationMode").stored(Stored::TextOrEmpty("private")),
    optional_text("selinux_label", "SELinuxLabel"),
]);

static CSI_PLUGIN: Shape = Shape::plain(&[
    text("id", "ID"),
    text("type", "Type"),
    text("mount_dir", "MountDir").stored(Stored::TextOrEmpty("/csi")),
    text("stage_publish_base_dir", "StagePublishBaseDir").stored(Stored::TextOrEmpty("/local/csi")),
    duration("health_timeout", "HealthTimeout"),
]);

static ACTION: Shape = Shape::labelled("Name", &[text("command", "Command").required(), kept_texts("args", "Args")]);

static SCHEDULE: Shape = Shape::plain(&[one("cron", "Cron", &CRON)]);
static CRON: Shape = Shape::plain(&[text("start", "Start"), text("end", "End"), text("timezone", "Timezone")]);

/// A resource is scaled by one policy.
fn scaled_once(task: &Block, source: &Source, problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for scaling in task.body.blocks_of("scaling") {
        let name = scaling.label(0).unwrap_or_default().to_lowercase();
        match seen.get(&name) {
            Some(first) => problems.push(Problem::new(
                scaling.header_span,
                format!("Duplicate scaling {name:?} block"),
                format!("Only one scaling {name} block is allowed. Another was defined at {}.", source.range(*first)),
            )),
            None => {
                seen.insert(name, scaling.header_span);
            }
        }
    }
}

/// The default identity (without a name, or named `default`) has a key of its own; the list then stays, even empty.
fn move_default_identity(body: &mut Map<String, Value>) {
    let Some(Value::Array(identities)) = body.get_mut("Identities") else {
        return;
    };
    let is_default = |identity: &Value| matches!(identity["Name"].as_str(), Some("" | "default"));
    if let Some(place) = identities.iter().position(is_default) {
        let identity = identities.remove(place);
        body.insert("Identity".to_owned(), identity);
    }
}
