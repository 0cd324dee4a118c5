//! Namespaces.
#![allow(missing_docs, reason = "fields are named as the API names them")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::error::Error;
use crate::query::{QueryOptions, escape};

/// A namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Namespace {
    pub name: String,
    pub description: String,
    pub quota: String,
    pub capabilities: Capabilities,
    pub meta: BTreeMap<String, String>,
}

/// What its jobs may use.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Capabilities {
    pub enabled_task_drivers: Vec<String>,
    pub disabled_task_drivers: Vec<String>,
    pub enabled_network_modes: Vec<String>,
    pub disabled_network_modes: Vec<String>,
}

impl Client {
    /// GET /v1/namespaces
    pub fn namespaces(&self, options: &QueryOptions) -> Result<Answer<Vec<Namespace>>, Error> {
        self.read("/v1/namespaces", options)
    }

    /// GET /v1/namespace/:name
    pub fn namespace(&self, name: &str) -> Result<Answer<Namespace>, Error> {
        self.read(&format!("/v1/namespace/{}", escape(name)), &QueryOptions::default())
    }

    /// PUT /v1/namespace: in the shape of the API.
    pub fn put_namespace(&self, namespace: &Value) -> Result<Answer<Value>, Error> {
        self.write("/v1/namespace", namespace, &QueryOptions::default())
    }

    /// DELETE /v1/namespace/:name
    pub fn delete_namespace(&self, name: &str) -> Result<Answer<Value>, Error> {
        self.delete(&format!("/v1/namespace/{}", escape(name)), &QueryOptions::default())
    }
}
