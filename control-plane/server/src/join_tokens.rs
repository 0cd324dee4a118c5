//! Join tokens: made for machines on other hosts.

use std::time::Duration;

use drover_certs::{JoinToken as TokenText, Role, Secret};
use drover_model::JoinTokenId;
use drover_protocol::host_file::ORDER_AGE_MAX_SECONDS;
pub use drover_protocol::host_file::{TokenOrder, directory as host_file_directory};
use drover_state::Command;
use drover_state::join_token::JoinToken;

use crate::error::Error;
use crate::server::Server;
use crate::{chance, clock};

/// The longest life of a join token.
pub const JOIN_TOKEN_TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The life of a join token when nothing was said.
pub const JOIN_TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// What a join token shall be good for.
#[derive(Clone, Debug, Default)]
pub struct JoinTokenRequest {
    /// For servers, not for clients.
    pub is_for_server: bool,
    /// How often; none means once.
    pub uses: Option<u32>,
    /// For how long.
    pub ttl: Option<Duration>,
    /// The pool a joining client must be in; empty means any.
    pub node_pool: String,
    /// The datacenter a joining client must be in; empty means any.
    pub datacenter: String,
    /// The region that is joined; empty means this one. Another is a new one, founded by the server that joins.
    pub region: String,
}

/// A join token as it is shown once.
#[derive(Clone, Debug)]
pub struct JoinTokenMade {
    /// The text to hand to the joiner.
    pub text: String,
    /// What the state keeps of it.
    pub token: JoinToken,
    /// Raft index of the write; 0 where the region has no leader yet.
    pub index: u64,
}

impl Server {
    /// Whether an order for a join token was signed, just now, by somebody who can read this server's host file.
    /// `proof` is the MAC in hexadecimal digits.
    pub fn is_signed(&self, order: &TokenOrder<'_>, proof: &str) -> bool {
        let age = (clock::now().seconds()).abs_diff(order.time);
        let Some(mac) = from_hex(proof) else { return false };
        age <= ORDER_AGE_MAX_SECONDS && self.inner.host_secret.verify_mac(&order.message(), &mac)
    }

    /// Makes a join token. While the region has no leader this server keeps it; one that waits for the region's keys makes them.
    ///
    /// # Errors
    /// Its life is too long, or the log can't be written.
    pub async fn create_join_token(&self, request: JoinTokenRequest) -> Result<JoinTokenMade, Error> {
        let ttl = request.ttl.unwrap_or(JOIN_TOKEN_TTL_DEFAULT);
        if ttl.is_zero() || ttl > JOIN_TOKEN_TTL_MAX {
            return Err(Error::Invalid("join token TTL must be between 1ns and 720h".to_owned()));
        }
        if request.uses == Some(0) {
            return Err(Error::Invalid("join token uses must be at least 1".to_owned()));
        }
        let role = if request.is_for_server { Role::Server } else { Role::Client };
        let founded = self.new_region(&request.region, request.is_for_server, request.uses).await?;
        let authority = self.authority_or_make().await?;
        let secret = Secret::generate()
            .map_err(|e| Error::Internal { public: "no randomness".to_owned(), private: e.to_string() })?;
        let now = clock::now();
        let token = JoinToken {
            id: JoinTokenId::from_random(chance::bytes16()),
            secret_hash: secret.hash().0,
            role: role.as_str().to_owned(),
            uses_left: Some(request.uses.unwrap_or(1)),
            expires_at: now.plus(ttl),
            node_pool: request.node_pool,
            datacenter: request.datacenter,
            created_at: now,
            region: founded.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        let own = authority.region().clone();
        let (region, at) = match founded {
            Some(founded) => (founded, Some(own)),
            None => (own, None),
        };
        let text = TokenText { role, region, at, fingerprint: authority.fingerprint(), secret };
        if !self.is_formed() {
            let failed = |e: std::io::Error| Error::Internal {
                public: "the join token can't be kept".to_owned(),
                private: e.to_string(),
            };
            self.inner.waiting_tokens.add(token.clone()).map_err(failed)?;
            return Ok(JoinTokenMade { text: text.reveal(), token, index: 0 });
        }
        let (index, _) = self.propose(Command::AddJoinToken { token: Box::new(token.clone()) }).await?;
        Ok(JoinTokenMade { text: text.reveal(), token, index })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|value| value as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
