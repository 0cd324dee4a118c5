//! Why there is no image, each in one sentence that an operator can act on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;
use crate::progress::Bytes;

/// Why the store cannot be used. A driver that stands on it is then not detected, for this reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Owners, whiteouts and the confinement of the child need root.
    #[error("images need root: their files have owners of their own")]
    NotRoot,
    /// Another agent has it.
    #[error("{} is in use by another agent", .0.display())]
    Locked(PathBuf),
    /// The directory refuses.
    #[error("open the image store at {}", .path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why an image could not be had. Shared by all who waited for it.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// There is no such image.
    #[error("{name} does not exist at {host}, or is seen only with a login")]
    NotFound {
        /// The image.
        name: String,
        /// Who was asked.
        host: String,
    },
    /// The login is missing or refused.
    #[error("{host} gives {name} only to others: {reason}")]
    Denied {
        /// The image.
        name: String,
        /// Who was asked.
        host: String,
        /// What is known about it.
        reason: String,
    },
    /// A login could not be read.
    #[error("the login for {host} can not be read: {reason}")]
    Login {
        /// For whom.
        host: String,
        /// Why.
        reason: String,
    },
    /// The host cannot be reached, or the connection broke and broke again.
    #[error("{host} can not be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why.
        reason: String,
    },
    /// Its certificate is none that is trusted here.
    #[error("{host} can not be trusted: {reason}")]
    Untrusted {
        /// Who was asked.
        host: String,
        /// Why.
        reason: String,
    },
    /// Nothing came.
    #[error("{host} sent nothing for {} s", .silence.as_secs())]
    Silent {
        /// Who was asked.
        host: String,
        /// How long that was.
        silence: Duration,
    },
    /// The whole took too long.
    #[error("it took longer than {} s", .0.as_secs())]
    Timeout(Duration),
    /// The registry's answer makes no sense or says that something is wrong with it.
    #[error("{host} answered {what}")]
    Answer {
        /// Who was asked.
        host: String,
        /// What came.
        what: String,
    },
    /// What came is not what was asked for.
    #[error("{what} from {host} is not what its digest says: {got} came for {wanted}")]
    Digest {
        /// The manifest, the configuration, a layer.
        what: &'static str,
        /// Who sent it.
        host: String,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
    /// A maximum was met.
    #[error("{what} is larger than {} allow", Bytes(*.max))]
    TooLarge {
        /// A layer, the image, …
        what: String,
        /// The maximum, in bytes.
        max: u64,
    },
    /// There are more layers than one overlay stands on.
    #[error("the image has {0} layers, more than {1}")]
    Layers(usize, usize),
    /// No image of an index runs here.
    #[error("{name} is there for {offered} and not for {wanted}")]
    Platform {
        /// The image.
        name: String,
        /// The machine's.
        wanted: String,
        /// Those of the index.
        offered: String,
    },
    /// A manifest or configuration that cannot be understood.
    #[error("the {what} of {name} can not be understood: {reason}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// The image.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A layer that cannot be unpacked, or must not be.
    #[error("layer {digest} can not be unpacked: {reason}")]
    Layer {
        /// Which layer.
        digest: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A file that is no archive of images, or not of this one.
    #[error("the archive can not be loaded: {0}")]
    Archive(String),
    /// The disk.
    #[error("{what}")]
    Disk {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Too many pulls at once.
    #[error("{0} pulls are running or waiting already")]
    Busy(usize),
    /// Nobody wants it any more.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl PullError {
    /// Whether a later try may succeed with nothing changed: the network, the registry's state, the disk. A job that names what does
    /// not exist or is not allowed stays wrong.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Timeout(_)
            | Self::Answer { .. }
            | Self::Disk { .. }
            | Self::Busy(_)
            | Self::Cancelled => true,
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Login { .. }
            | Self::Untrusted { .. }
            | Self::Digest { .. }
            | Self::TooLarge { .. }
            | Self::Layers(..)
            | Self::Platform { .. }
            | Self::Malformed { .. }
            | Self::Layer { .. }
            | Self::Archive(_) => false,
        }
    }

    /// The error and what is behind it, in one sentence for a task event.
    pub fn sentence(&self) -> String {
        match self {
            Self::Disk { what, source } => format!("{what}: {source}"),
            other => other.to_string(),
        }
    }

    pub(crate) fn disk(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Disk { what, source }
    }
}
