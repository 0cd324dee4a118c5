//! Join tokens: how a machine without a certificate gets its first one. drover's own route.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::time::Duration;

use drover_model::time::format_duration;
use serde::Deserialize;
use serde_json::json;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::QueryOptions;

/// What a new token shall admit.
#[derive(Clone, Debug, Default)]
pub struct JoinTokenOrder {
    /// `client` or `server`.
    pub role: String,
    /// How many machines; none is the server's default.
    pub uses: Option<u32>,
    /// For how long; none is the server's default.
    pub ttl: Option<Duration>,
    /// Only into this pool; empty is any.
    pub node_pool: String,
    /// Only into this datacenter; empty is any.
    pub datacenter: String,
    /// Into this region; empty is the server's own.
    pub region: String,
    /// When the order was signed, in Unix seconds.
    pub time: i64,
    /// The signature, by somebody who can read the server's host file.
    pub proof: String,
}

impl JoinTokenOrder {
    /// How long, as it is written into the order.
    pub fn ttl_text(&self) -> String {
        self.ttl.map(format_duration).unwrap_or_default()
    }
}

/// A new token. Its text is shown once and kept nowhere.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NewJoinToken {
    pub token: String,
    #[serde(flatten)]
    pub about: JoinToken,
}

/// What is known of a token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinToken {
    #[serde(rename = "ID")]
    pub id: String,
    pub role: String,
    /// None means no limit.
    pub uses_left: Option<u32>,
    pub expires_at: String,
    pub created_at: String,
    pub node_pool: String,
    pub datacenter: String,
    /// The new region whose first server it admits; empty else.
    pub region: String,
}

const PATH: &str = "/v1/operator/join-token";

impl Client {
    /// POST /v1/operator/join-token
    pub fn create_join_token(&self, order: &JoinTokenOrder) -> Result<Answer<NewJoinToken>, Error> {
        let mut body = json!({ "Role": order.role });
        if !order.proof.is_empty() {
            body["Time"] = order.time.into();
            body["Proof"] = order.proof.as_str().into();
        }
        if let Some(uses) = order.uses {
            body["Uses"] = uses.into();
        }
        for (name, text) in [
            ("TTL", &order.ttl_text()),
            ("NodePool", &order.node_pool),
            ("Datacenter", &order.datacenter),
            ("Region", &order.region),
        ] {
            if !text.is_empty() {
                body[name] = text.as_str().into();
            }
        }
        // The server that is asked makes it, whatever region it is for.
        self.of_no_region().post(PATH, &body, &QueryOptions::default())
    }

    /// GET /v1/operator/join-token: those that still admit somebody.
    pub fn join_tokens(&self) -> Result<Answer<Vec<JoinToken>>, Error> {
        self.read(PATH, &QueryOptions::default())
    }
}
