//! One request, as handlers see it.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use drover_model::{JobKey, Namespace};
use hyper::upgrade::OnUpgrade;
use serde::Serialize;

use crate::api::Api;
use crate::body::{self, Fields};
use crate::path::Params;
use crate::problem::Problem;
use crate::query::Query;
use crate::reply::{self, Reply};

/// One request.
pub struct Call {
    /// What to work with.
    pub api: Api,
    /// Its method.
    pub method: Method,
    /// What the names of the route's pattern stand for.
    pub params: Params,
    /// Its parameters.
    pub query: Query,
    /// Its headers.
    pub headers: HeaderMap,
    /// Who sent it; none when it was handed on.
    pub peer: Option<SocketAddr>,
    /// What was sent, not read yet. The lock is only there because a body may not be shared between threads.
    pub body: Mutex<Body>,
    /// The connection, for answers after which it speaks another language.
    pub upgrade: Option<OnUpgrade>,
}

impl Call {
    /// What a name of the route's pattern stands for.
    pub fn param(&self, name: &str) -> &str {
        self.params.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value.as_str())
    }

    /// The job that the path names, in the namespace asked for.
    pub fn job_key(&self) -> JobKey {
        JobKey::new(Namespace::from(self.query.namespace()), self.param("job_id"))
    }

    /// Reads the whole body; empty when there is none.
    ///
    /// # Errors
    /// It is too large or too slow.
    pub async fn take_body(&mut self) -> Result<Vec<u8>, Problem> {
        let body = std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        body::read(&self.headers, body).await
    }

    /// Reads the body as an object.
    ///
    /// # Errors
    /// There is none, or it is no JSON object.
    pub async fn take_fields(&mut self) -> Result<Fields, Problem> {
        Fields::parse(&self.take_body().await?)
    }

    /// As [`Call::take_fields`], but a missing body is an empty object.
    ///
    /// # Errors
    /// It is no JSON object.
    pub async fn take_optional_fields(&mut self) -> Result<Option<Fields>, Problem> {
        let bytes = self.take_body().await?;
        if bytes.is_empty() { Ok(None) } else { Fields::parse(&bytes).map(Some) }
    }

    /// A value without an index.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn plain(&self, value: &impl Serialize) -> Result<Reply, Problem> {
        reply::plain(value, self.query.is_pretty())
    }

    /// The answer to a write.
    ///
    /// # Errors
    /// It can't be written as JSON.
    pub fn written(&self, value: &impl Serialize, index: u64) -> Result<Reply, Problem> {
        reply::written(value, index, self.query.is_pretty())
    }
}
