//! The agent that is asked, and the servers it knows.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::QueryOptions;

/// The agent that is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AgentSelf {
    pub config: Value,
    pub member: Member,
    pub stats: BTreeMap<String, BTreeMap<String, String>>,
}

/// The servers of a region.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Members {
    pub server_region: String,
    pub members: Vec<Member>,
}

/// A server as its fellows see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Member {
    pub name: String,
    pub addr: String,
    pub port: u16,
    pub tags: BTreeMap<String, String>,
    pub status: String,
    pub protocol_cur: u64,
}

impl Client {
    /// GET /v1/agent/self
    pub fn agent_self(&self) -> Result<Answer<AgentSelf>, Error> {
        self.read("/v1/agent/self", &QueryOptions::default())
    }

    /// GET /v1/agent/members
    pub fn members(&self) -> Result<Answer<Members>, Error> {
        self.read("/v1/agent/members", &QueryOptions::default())
    }

    /// GET /v1/status/leader of a region: its RPC address.
    pub fn leader(&self, region: &str) -> Result<Answer<String>, Error> {
        self.read("/v1/status/leader", &QueryOptions { region: region.to_owned(), ..QueryOptions::default() })
    }
}
