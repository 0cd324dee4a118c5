//! The door through which file functions reach files: this crate itself opens none.

/// Files as the one who parses wants them to be seen.
pub trait Files {
    /// The whole content of a file.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
    /// Whether there is a regular file; `Other` for something there that is none.
    fn is_file(&self, path: &str) -> Result<bool, FileError>;
    /// All regular files below a directory, relative to it, with `/` between the parts; none when it is missing.
    fn walk(&self, directory: &str) -> Result<Vec<String>, FileError>;
    /// The absolute form of a path, cleaned of `.` and `..`.
    fn absolute(&self, path: &str) -> String;
    /// The home directory, for `~`.
    fn home(&self) -> Option<String>;
}

/// Why a file could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("no such file")]
    NotFound,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}
