//! A region founded by a token: the first server of a new region gets its keys from a server of another one below the same root.
//!
//! Only who has the root's key can found regions, so such a token is made and spent at servers of the region whose first server
//! made the authority, and spent at the one that made it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use drover_certs::{Authority, Lifetimes, RegionName};
use drover_model::{JoinTokenId, Timestamp};
use drover_protocol::enrol::HeldRegion;
use drover_state::join_token::JoinToken;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::clock;
use crate::error::Error;
use crate::founded::{Founded, OVER_AFTER};
use crate::server::Server;

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

    /// Whether who has that certificate of the region, which has ended, gets a later one. Asked before a token is spent: whoever has
    /// not the key founds nothing with another's certificate, and one that was not told so keeps its token.
    pub(crate) fn check_held(&self, region: &RegionName, held: &HeldRegion) -> Result<(), String> {
        let authority = self.authority().ok_or("this server has no certificate itself yet")?;
        later(&authority, region, held).map(drop)
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
        let renewed = held.map(|held| later(authority, &region, &held)).transpose()?;
        // Who comes second sees what the first has written.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        let _one = ONE_AT_A_TIME.lock().await;
        self.check_not_founded(&region, token.id, node)?;
        // Those that wait first: one that goes into the state meanwhile is found there.
        let mut all = self.inner.waiting_tokens.all();
        // What this server has applied may be less than what there is: a token that it has not heard of would found a second one.
        let reading =
            if self.is_formed() { self.read(false).await.map_err(|e| e.to_string())? } else { self.reading() };
        all.extend(reading.snapshot.join_tokens().map(|token| JoinToken::clone(token)));
        let (others, now) = (others(&all, token, clock::now()), clock::now());
        let (dir, name, node) = (self.inner.data_dir.clone(), region.to_string(), node.to_owned());
        let noted = spawn_blocking(move || Founded::add(&dir, &name, &node, others, now));
        noted.await.map_err(|e| e.to_string())??;
        if let Some(pem) = renewed {
            tracing::info!(%region, "the certificate of a region that had ended was renewed with a token");
            return Ok(Granted::Renewed(pem));
        }
        let now = authority.floored(SystemTime::now());
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

/// The later certificate, in PEM, for the region's key that is held.
fn later(authority: &Authority, region: &RegionName, held: &HeldRegion) -> Result<String, String> {
    let now = authority.floored(SystemTime::now());
    let later = authority.renew_other(region, &held.certificate, &held.proof, now, &Lifetimes::default());
    later.map_err(|e| e.to_string())
}

/// The other tokens for the same region that may still be used by somebody, be it after a clock was set back, with their ends.
fn others(tokens: &[JoinToken], used: &JoinToken, now: Timestamp) -> BTreeMap<JoinTokenId, Timestamp> {
    let others = tokens.iter().filter(|token| token.region == used.region && token.id != used.id);
    let usable = others.filter(|token| token.uses_left != Some(0) && now < token.expires_at.plus(OVER_AFTER));
    usable.map(|token| (token.id, token.expires_at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_over_when_it_is_used_up_or_ended_long_ago() {
        let day = i64::try_from(OVER_AFTER.as_nanos()).unwrap();
        let token = |number: u8, region: &str, uses_left, expires_at| JoinToken {
            id: JoinTokenId::from_random([number; 16]),
            uses_left,
            expires_at: Timestamp(expires_at),
            region: region.to_owned(),
            ..JoinToken::default()
        };
        let now = 10 * day;
        let tokens = [
            token(0, "west", Some(1), now + 1),
            token(1, "west", Some(1), now + 1),
            token(2, "west", Some(0), now + 1),
            token(3, "west", None, now - day + 1),
            token(4, "west", None, now - day),
            token(5, "north", None, now + 1),
        ];
        let expected = [&tokens[1], &tokens[3]].map(|token| (token.id, token.expires_at));
        assert_eq!(others(&tokens, &tokens[0], Timestamp(now)).into_iter().collect::<Vec<_>>(), expected);
    }
}
