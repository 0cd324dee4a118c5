//! Why a request was not done, free of any transport: the HTTP API maps it to a status.

use drover_raft::{MemberError, ProposeError};
use drover_state::Refusal;

/// Why a request was not done. The text is what the caller reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It can't be done as things stand.
    #[error("{0}")]
    Conflict(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// Nobody leads the region.
    #[error("No cluster leader")]
    NoLeader,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of ours. The second text goes to the log only.
    #[error("{public}")]
    Internal {
        /// What the caller reads.
        public: String,
        /// What the log gets.
        private: String,
    },
}

impl From<ProposeError> for Error {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::NotLeader { .. } => Error::NoLeader,
            ProposeError::TooLong { .. } => Error::Invalid(error.to_string()),
            ProposeError::Undecided { .. } => Error::Unavailable(error.to_string()),
            ProposeError::Stopped { .. } => {
                Error::Internal { public: "the server is stopping".to_owned(), private: error.to_string() }
            }
        }
    }
}

impl From<MemberError> for Error {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::NotLeader { .. } => Error::NoLeader,
            MemberError::Unknown { .. } => Error::NotFound(error.to_string()),
            MemberError::InProgress
            | MemberError::LastVoter { .. }
            | MemberError::TooMany
            | MemberError::Behind { .. }
            | MemberError::NoSuccessor
            | MemberError::Refused { .. } => Error::Conflict(error.to_string()),
            MemberError::Undecided { .. } => Error::Unavailable(error.to_string()),
            MemberError::Stopped { .. } => {
                Error::Internal { public: "the server is stopping".to_owned(), private: error.to_string() }
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::NotFound { .. } => Error::NotFound(refusal.to_string()),
            Refusal::JoinToken => Error::Forbidden(refusal.to_string()),
            Refusal::JobExists | Refusal::JobMissing { .. } | Refusal::JobChanged { .. } | Refusal::Conflict { .. } => {
                Error::Conflict(refusal.to_string())
            }
        }
    }
}
