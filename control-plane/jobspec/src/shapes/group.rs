//! The `group` block and its volumes.

use crate::shape::{
    Field, Kind, Shape, Stored, flag, many, nullable, one, optional_duration, optional_flag, text, texts,
};
use crate::shapes::constraint::{AFFINITY, CONSTRAINT, SPREAD};
use crate::shapes::job::ABSENT;
use crate::shapes::network::NETWORK;
use crate::shapes::policy::{DISCONNECT, EPHEMERAL_DISK, GROUP_SCALING, MIGRATE, RESCHEDULE, RESTART, UPDATE};
use crate::shapes::service::SERVICE;
use crate::shapes::task::{CONSUL, SECRET, TASK, VAULT};

/// `group "name" { ... }`.
pub static GROUP: Shape = Shape::labelled(
    "Name",
    &[
        nullable("count", "Count", Kind::Int(i64::MIN, i64::MAX)),
        many("constraint", "Constraints", &CONSTRAINT),
        many("affinity", "Affinities", &AFFINITY),
        many("task", "Tasks", &TASK),
        many("spread", "Spreads", &SPREAD),
        // One of kinds that are not known leaves an empty map, which is kept: see `canonicalize`.
        nullable("volume", "Volumes", Kind::Named(&VOLUME)).stored(Stored::KeepEmpty),
        one("restart", "RestartPolicy", &RESTART),
        one("disconnect", "Disconnect", &DISCONNECT),
        one("reschedule", "ReschedulePolicy", &RESCHEDULE),
        one("ephemeral_disk", "EphemeralDisk", &EPHEMERAL_DISK).stored(Stored::Zero),
        one("update", "Update", &UPDATE),
        one("migrate", "Migrate", &MIGRATE),
        many("network", "Networks", &NETWORK),
        nullable("meta", "Meta", Kind::TextMapEither),
        many("service", "Services", &SERVICE),
        optional_duration("shutdown_delay", "ShutdownDelay").stored(Stored::Keep),
        optional_duration("max_run_duration", "MaxRunDuration").stored(Stored::Keep),
        optional_duration("stop_after_client_disconnect", "StopAfterClientDisconnect").stored(Stored::Dropped),
        optional_duration("max_client_disconnect", "MaxClientDisconnect").stored(Stored::Dropped),
        one("scaling", "Scaling", &GROUP_SCALING),
        one("consul", "Consul", &CONSUL),
        optional_flag("prevent_reschedule_on_lost", "PreventRescheduleOnLost").stored(Stored::Dropped),
        Field { hcl: "vault", kind: Kind::One(&VAULT), ..ABSENT },
        Field { hcl: "secret", kind: Kind::Many(&SECRET), ..ABSENT },
    ],
);

static VOLUME: Shape = Shape::labelled(
    "Name",
    &[
        text("type", "Type"),
        text("source", "Source"),
        flag("read_only", "ReadOnly"),
        flag("sticky", "Sticky"),
        text("access_mode", "AccessMode"),
        text("attachment_mode", "AttachmentMode"),
        one("mount_options", "MountOptions", &MOUNT_OPTIONS),
        flag("per_alloc", "PerAlloc"),
    ],
);

static MOUNT_OPTIONS: Shape = Shape::plain(&[text("fs_type", "FSType"), texts("mount_flags", "MountFlags")]);
