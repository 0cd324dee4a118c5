//! What can go wrong with a call, with the texts that scripts know.

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid address '{address}': {problem}")]
pub struct AddressError {
    /// As given.
    pub address: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Files for HTTPS that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities.
    #[error("Error loading CA File: {problem}")]
    CaFile {
        /// What is wrong with it.
        problem: String,
    },
    /// The folder of authorities.
    #[error("Error loading CA Path: {problem}")]
    CaPath {
        /// What is wrong with it.
        problem: String,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("both client cert and client key must be provided")]
    HalfPair,
    /// Certificate and key to show.
    #[error("Error loading client certificate: {problem}")]
    Pair {
        /// What is wrong with them.
        problem: String,
    },
    /// Nobody is believed.
    #[error("no authorities to check the agent's certificate against: this system has none, and no CA file is given")]
    NoAuthorities,
}

/// A client that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The files for HTTPS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A call that brought no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer came.
    #[error("{method} {url:?}: {problem}")]
    Unanswered {
        /// `Get`, `Put`, `Delete`.
        method: &'static str,
        /// What was asked.
        url: String,
        /// Why there is no answer.
        problem: String,
    },
    /// The agent refused.
    #[error("Unexpected response code: {status} ({body})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The agent's text, trimmed.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("cannot read the answer to {method} {url:?}: {problem}")]
    Unreadable {
        /// `Get`, `Put`, `Delete`.
        method: &'static str,
        /// What was asked.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Refused { status, .. } => Some(*status),
            Error::Unanswered { .. } | Error::Unreadable { .. } => None,
        }
    }

    /// The agent could not be reached at all.
    pub fn is_unanswered(&self) -> bool {
        matches!(self, Error::Unanswered { .. })
    }
}
