//! Join tokens: made, spent, removed.

use std::sync::Arc;

use drover_model::{JoinTokenId, Timestamp};

use super::Applying;
use crate::command::Refusal;
use crate::event::Change;
use crate::join_token::JoinToken;
use crate::state::Table;

impl Applying<'_> {
    pub(super) fn add_join_token(&mut self, token: JoinToken) {
        // Those that admit nobody any more make room for new ones.
        let now = token.created_at;
        let spent = self.state.join_tokens.values().filter(|other| !other.is_valid_at(now));
        let spent = spent.map(|other| other.id).collect();
        self.remove_join_tokens(spent);
        if !self.state.join_tokens.contains_key(&token.id) {
            self.state.join_tokens.insert(token.id, Arc::new(token));
            self.changed(Table::JoinTokens, Change::JoinTokens);
        }
    }

    pub(super) fn spend_join_token(
        &mut self,
        id: JoinTokenId,
        secret_hash: [u8; 32],
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let token = self.state.join_tokens.get(&id).ok_or(Refusal::JoinToken)?;
        if token.secret_hash != secret_hash || !token.is_valid_at(at) {
            return Err(Refusal::JoinToken);
        }
        let Some(uses) = token.uses_left else { return Ok(()) };
        let token = JoinToken { uses_left: Some(uses.saturating_sub(1)), ..JoinToken::clone(token) };
        self.state.join_tokens.insert(id, Arc::new(token));
        self.changed(Table::JoinTokens, Change::JoinTokens);
        Ok(())
    }

    pub(super) fn remove_join_tokens(&mut self, ids: Vec<JoinTokenId>) {
        for id in ids {
            if self.state.join_tokens.remove(&id).is_some() {
                self.changed(Table::JoinTokens, Change::JoinTokens);
            }
        }
    }
}
