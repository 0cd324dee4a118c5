//! Join tokens that were made before the region had a leader: a list on this server's disk, by hash only. It enters the state
//! with the first leader.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use drover_model::Timestamp;
use drover_state::join_token::JoinToken;

use crate::authority::write_private;

const FILE: &str = "join-tokens.json";
/// The most tokens that wait.
pub const TOKENS_MAX: usize = 256;

/// The list.
pub struct WaitingTokens {
    path: PathBuf,
    tokens: Mutex<Vec<JoinToken>>,
}

impl WaitingTokens {
    /// Reads the list in that directory; empty when there is none.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let tokens = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, tokens: Mutex::new(tokens) })
    }

    /// Adds a token. It is on the disk when this returns.
    pub fn add(&self, token: JoinToken) -> io::Result<()> {
        self.change(|tokens| {
            tokens.retain(|other| other.is_valid_at(token.created_at));
            if tokens.len() >= TOKENS_MAX {
                return Err(io::Error::other(format!("there are {TOKENS_MAX} join tokens already")));
            }
            tokens.push(token);
            Ok(())
        })
    }

    /// The token with that secret, whether or not it still admits somebody.
    pub fn find(&self, secret_hash: &[u8; 32]) -> Option<JoinToken> {
        self.lock().iter().find(|token| token.secret_hash == *secret_hash).cloned()
    }

    /// All that wait.
    pub fn all(&self) -> Vec<JoinToken> {
        self.lock().clone()
    }

    /// Takes one use. False when there was none left.
    pub fn spend(&self, token: &JoinToken, now: Timestamp) -> io::Result<bool> {
        self.change(|tokens| {
            let Some(found) = tokens.iter_mut().find(|other| other.id == token.id && other.is_valid_at(now)) else {
                return Ok(false);
            };
            found.uses_left = found.uses_left.map(|uses| uses.saturating_sub(1));
            Ok(true)
        })
    }

    /// Takes a token out of the list, to be put into the state: from here on its uses are counted there, or it would have them twice.
    pub fn take(&self) -> io::Result<Option<JoinToken>> {
        if self.lock().is_empty() {
            return Ok(None);
        }
        self.change(|tokens| Ok(tokens.pop()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<JoinToken>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the list on the disk first: a use that was granted stays spent.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<JoinToken>) -> io::Result<T>) -> io::Result<T> {
        let mut held = self.lock();
        let mut tokens = held.clone();
        let done = change(&mut tokens)?;
        let text = serde_json::to_vec(&tokens).map_err(io::Error::other)?;
        write_private(&self.path, &text)?;
        *held = tokens;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_spent_once_also_across_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let token = JoinToken {
            secret_hash: [7; 32],
            role: "server".to_owned(),
            uses_left: Some(2),
            expires_at: Timestamp(100),
            ..JoinToken::default()
        };
        let now = Timestamp(1);
        let tokens = WaitingTokens::open(dir.path()).unwrap();
        tokens.add(token.clone()).unwrap();
        assert!(tokens.find(&[8; 32]).is_none());
        assert!(!tokens.spend(&token, Timestamp(100)).unwrap());
        assert!(tokens.spend(&token, now).unwrap());
        let tokens = WaitingTokens::open(dir.path()).unwrap();
        assert_eq!(tokens.find(&[7; 32]).unwrap().uses_left, Some(1));
        assert!(tokens.spend(&token, now).unwrap());
        assert!(!tokens.spend(&token, now).unwrap());
        assert_eq!(tokens.find(&[7; 32]).unwrap().uses_left, Some(0));
    }

    #[test]
    fn what_was_taken_out_is_not_spent_here_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let token = JoinToken { uses_left: Some(2), expires_at: Timestamp(100), ..JoinToken::default() };
        let tokens = WaitingTokens::open(dir.path()).unwrap();
        tokens.add(token.clone()).unwrap();
        assert!(tokens.spend(&token, Timestamp(1)).unwrap());
        assert_eq!(tokens.take().unwrap().unwrap().uses_left, Some(1), "with the uses that are left");
        assert!(!tokens.spend(&token, Timestamp(1)).unwrap());
        assert!(WaitingTokens::open(dir.path()).unwrap().find(&token.secret_hash).is_none());
        assert_eq!(tokens.take().unwrap(), None);
    }
}
