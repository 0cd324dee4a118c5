//! A snapshot: the state as it was at one index, for everybody who reads.

use std::ops::Deref;
use std::sync::Arc;

use crate::state::State;

/// The state as it was at one index. Cloning costs nothing; all readers are those of [`State`].
#[derive(Clone, Debug, Default)]
pub struct Snapshot(Arc<State>);

impl Deref for Snapshot {
    type Target = State;
    fn deref(&self) -> &State {
        &self.0
    }
}

impl From<State> for Snapshot {
    fn from(state: State) -> Self {
        Self(Arc::new(state))
    }
}

impl State {
    /// The state as it is now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(Arc::new(self.clone()))
    }
}
