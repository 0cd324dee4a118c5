//! A region founded by a token: the first server of a new region gets its keys from a server of another one below the same root.
//!
//! Only who has the root's key can found regions, so such a token is made and spent at servers of the region whose first server
//! made the authority, and spent at the one that made it.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use drover_certs::{Authority, Lifetimes, RegionName};
use drover_model::JoinTokenId;
use drover_state::join_token::JoinToken;

use crate::error::Error;
use crate::founded::Founded;
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

    /// The authority of the region that this token founds. All other tokens for it that are there found it no more.
    pub(crate) fn found_region(
        &self,
        authority: &Authority,
        token: &JoinToken,
        node: &str,
    ) -> Result<Authority, String> {
        let region: RegionName = token.region.parse().map_err(|e| format!("region {:?}: {e}", token.region))?;
        self.check_new(&region)?;
        // Who comes second sees what the first has written.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_not_founded(&region, token.id, node)?;
        let snapshot = self.reading().snapshot;
        let in_state = snapshot.join_tokens().filter(|other| other.region == token.region).map(|other| other.id);
        let others = in_state.chain(self.inner.waiting_tokens.for_region(&token.region));
        let others = others.filter(|other| *other != token.id).collect();
        Founded::add(&self.inner.data_dir, region.as_str(), node, others)?;
        let now = authority.floored(SystemTime::now());
        let founded = authority.create_region(region.clone(), now, &Lifetimes::default());
        let founded = founded.map_err(|e| e.to_string())?;
        tracing::info!(%region, "region founded");
        Ok(founded)
    }
}
