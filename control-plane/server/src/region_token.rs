//! A region founded by a token: the first server of a new region gets its keys from a server of another one below the same root.
//!
//! Only who has the root's key can found regions, so such a token is made and spent at servers of the region whose first server
//! made the authority, and spent at the one that made it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use drover_certs::{Authority, Lifetimes, RegionName};
use drover_model::{JoinTokenId, Timestamp};
use drover_protocol::enrol::HeldRegion;
use drover_state::join_token::JoinToken;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::error::Error;
use crate::founded::Founded;
use crate::server::Server;

/// A token that ended so long ago founds nothing any more, also when a clock is set back.
const OVER_AFTER: Duration = Duration::from_secs(24 * 3600);

impl Server {
    /// The region that a token is asked for, where it is a new one.
    ///
    /// # Errors
    /// It is no name of a region, it exists already, or this server can't found regions.
    pub(crate) async fn new_region(
        &self,
        name: &str,
        is_for_server: bool,
        uses: Option<u32>,
    ) -> Result<Option<RegionName>, Error> {
        if name.is_empty() || name == self.info().region {
            return Ok(None);
        }
        let region: RegionName = name.parse().map_err(|e| Error::Invalid(format!("region {name:?}: {e}")))?;
        let own = &self.info().region;
        if !is_for_server {
            let text = format!(
                "this server is of region {own}: a token for clients of {region} is made on a server of {region}"
            );
            return Err(Error::Invalid(text));
        }
        self.check_new(&region).map_err(Error::Invalid)?;
        if uses.is_some_and(|uses| uses > 1) {
            let text = format!(
                "a token for the new region {region} is for its first server alone: it makes tokens for the others"
            );
            return Err(Error::Invalid(text));
        }
        let has_root_key = self.authority_or_make().await?.has_root_key();
        if !has_root_key {
            let text = "this server has not the root's key, with which regions are founded: ask the server that made the \
                        authority (its data_dir has server/tls/root-key.pem)";
            return Err(Error::Invalid(text.to_owned()));
        }
        Ok(Some(region))
    }

    /// Whether a region of that name may be founded: there is none yet, as far as this server knows.
    pub(crate) fn check_new(&self, region: &RegionName) -> Result<(), String> {
        let directory = self.inner.membership.directory();
        if directory.of_region(region.as_str()).iter().any(|member| member.status.is_live()) {
            return Err(format!("region {region} is there already: a token for it is made on one of its own servers"));
        }
        Ok(())
    }

    /// Whether that server may found the region with that token: no other has with a token that was there at the same time.
    pub(crate) fn check_not_founded(&self, region: &RegionName, token: JoinTokenId, node: &str) -> Result<(), String> {
        let founded = Founded::read(&self.inner.data_dir)?;
        if founded.admits(region.as_str(), token, node) {
            return Ok(());
        }
        Err(format!(
            "region {region} was founded with another token already; if that is gone for good, make a new one with `drover server \
             join-token create -region {region}`"
        ))
    }

    /// What the server that founds a region with this token gets. All other tokens for it that are there found it no more. One that
    /// holds the region's key already, whose certificate has ended, gets a later certificate for that key.
    pub(crate) async fn found_region(
        &self,
        authority: &Authority,
        token: &JoinToken,
        node: &str,
        held: Option<HeldRegion>,
    ) -> Result<Granted, String> {
        let region: RegionName = token.region.parse().map_err(|e| format!("region {:?}: {e}", token.region))?;
        self.check_new(&region)?;
        let now = authority.floored(SystemTime::now());
        // Before the token counts for anything: whoever has not the key founds nothing with another's certificate.
        let renewed =
            held.map(|held| authority.renew_other(&region, &held.certificate, &held.proof, now, &Lifetimes::default()));
        let renewed = renewed.transpose().map_err(|e| e.to_string())?;
        // Who comes second sees what the first has written.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _one = ONE_AT_A_TIME.lock().await;
        self.check_not_founded(&region, token.id, node)?;
        let snapshot = self.reading().snapshot;
        let in_state = snapshot.join_tokens().map(|token| JoinToken::clone(token));
        let all: Vec<JoinToken> = in_state.chain(self.inner.waiting_tokens.all()).collect();
        let usable = usable(&all, clock::now());
        let others = all.iter().filter(|other| other.region == token.region && other.id != token.id);
        let others = others.map(|other| other.id).filter(|id| usable.contains(id)).collect();
        let (dir, name, node) = (self.inner.data_dir.clone(), region.to_string(), node.to_owned());
        let noted = spawn_blocking(move || Founded::add(&dir, &name, &node, others, |id| !usable.contains(id)));
        noted.await.map_err(|e| e.to_string())??;
        if let Some(pem) = renewed {
            tracing::info!(%region, "the certificate of a region that had ended was renewed with a token");
            return Ok(Granted::Renewed(pem));
        }
        let founded = authority.create_region(region.clone(), now, &Lifetimes::default());
        let founded = founded.map_err(|e| e.to_string())?;
        tracing::info!(%region, "region founded");
        Ok(Granted::New(Box::new(founded)))
    }
}

/// What a founding token has given.
pub(crate) enum Granted {
    /// The authority of a new region.
    New(Box<Authority>),
    /// A later certificate, in PEM, for the key of a region that was there.
    Renewed(String),
}

/// Tokens that may still be used by somebody, be it after a clock was set back.
fn usable(tokens: &[JoinToken], now: Timestamp) -> BTreeSet<JoinTokenId> {
    let usable = tokens.iter().filter(|token| token.uses_left != Some(0) && now < token.expires_at.plus(OVER_AFTER));
    usable.map(|token| token.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_over_when_it_is_used_up_or_ended_long_ago() {
        let day = i64::try_from(OVER_AFTER.as_nanos()).unwrap();
        let token = |number: u8, uses_left, expires_at| JoinToken {
            id: JoinTokenId::from_random([number; 16]),
            uses_left,
            expires_at: Timestamp(expires_at),
            ..JoinToken::default()
        };
        let now = 10 * day;
        let tokens = [
            token(1, Some(1), now + 1),
            token(2, Some(0), now + 1),
            token(3, None, now - day + 1),
            token(4, None, now - day),
        ];
        let expected = [1, 3].map(|number| JoinTokenId::from_random([number; 16]));
        assert_eq!(usable(&tokens, Timestamp(now)).into_iter().collect::<Vec<_>>(), expected);
    }
}
