//! The image of the whole state: what a raft snapshot carries and what the digest is taken of.
//!
//! Eight bytes that say what it is, one byte for the form's version, then MessagePack with field names: a field added
//! with a default still reads old images. Secondary indexes are not in it, they are built again.

use std::sync::Arc;

use drover_model::JobKey;
use drover_model::Timestamp;
use drover_model::alloc::Alloc;
use drover_model::deployment::Deployment;
use drover_model::eval::Eval;
use drover_model::job::Job;
use drover_model::namespace::NamespaceSpec;
use drover_model::node::Node;
use serde::{Deserialize, Serialize};

use crate::autopilot::AutopilotConfig;
use crate::join_token::JoinToken;
use crate::scaling::JobScaling;
use crate::state::{State, TableIndexes};
use crate::submission::Submission;
use crate::summary::JobSummary;

const MAGIC: &[u8; 8] = b"drover\0S";
const VERSION: u8 = 1;

/// Bytes that are no image of a state.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They do not begin as an image does.
    #[error("not an image of a drover state")]
    Header,
    /// A later drover wrote them.
    #[error("image of a state has version {0}, this drover reads version {VERSION}")]
    Version(u8),
    /// The rest does not read.
    #[error("image of a state is damaged")]
    Body(#[source] rmp_serde::decode::Error),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Image {
    index: u64,
    table_indexes: TableIndexes,
    jobs: Vec<JobKey>,
    versions: Vec<Arc<Job>>,
    submissions: Vec<(JobKey, u64, Arc<Submission>)>,
    summaries: Vec<(JobKey, Arc<JobSummary>)>,
    scaling: Vec<(JobKey, Arc<JobScaling>)>,
    launches: Vec<(JobKey, Timestamp)>,
    nodes: Vec<Arc<Node>>,
    evals: Vec<Arc<Eval>>,
    allocs: Vec<Arc<Alloc>>,
    deployments: Vec<Arc<Deployment>>,
    join_tokens: Vec<Arc<JoinToken>>,
    autopilot: Option<Arc<AutopilotConfig>>,
    namespaces: Vec<Arc<NamespaceSpec>>,
}

impl State {
    /// The image of the whole state.
    pub fn encode(&self) -> Vec<u8> {
        let image = Image {
            index: self.index,
            table_indexes: self.table_indexes,
            jobs: self.jobs.keys().cloned().collect(),
            versions: self.versions.values().flat_map(|versions| versions.values()).cloned().collect(),
            submissions: self
                .submissions
                .iter()
                .flat_map(|(key, texts)| texts.iter().map(|(version, text)| (key.clone(), *version, text.clone())))
                .collect(),
            summaries: self.summaries.iter().map(|(key, summary)| (key.clone(), summary.clone())).collect(),
            scaling: self.scaling.iter().map(|(key, events)| (key.clone(), events.clone())).collect(),
            launches: self.launches.iter().map(|(key, at)| (key.clone(), *at)).collect(),
            nodes: self.nodes.values().cloned().collect(),
            evals: self.evals.values().cloned().collect(),
            allocs: self.allocs.values().cloned().collect(),
            deployments: self.deployments.values().cloned().collect(),
            join_tokens: self.join_tokens.values().cloned().collect(),
            autopilot: self.autopilot.clone(),
            namespaces: self.namespaces.all().cloned().collect(),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.push(VERSION);
        rmp_serde::encode::write_named(&mut bytes, &image)
            .expect("the types of the state hold nothing that MessagePack can't express, and memory takes every write");
        bytes
    }

    /// The state that these bytes are the image of.
    pub fn decode(bytes: &[u8]) -> Result<State, DecodeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Header)?;
        let (&version, body) = rest.split_first().ok_or(DecodeError::Header)?;
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let image: Image = rmp_serde::from_slice(body).map_err(DecodeError::Body)?;
        let mut state = State { index: image.index, table_indexes: image.table_indexes, ..State::default() };
        for job in &image.versions {
            state.set_version(job);
        }
        for key in image.jobs {
            // The newest version of the youngest job of that name is the job.
            let newest = state.versions.get(&key).and_then(|versions| versions.get_max()).map(|(_, job)| job.clone());
            if let Some(job) = newest {
                state.set_current(&job);
            }
        }
        for (key, version, submission) in image.submissions {
            state.set_submission(key, version, submission);
        }
        state.summaries = image.summaries.into_iter().collect();
        state.scaling = image.scaling.into_iter().collect();
        state.launches = image.launches.into_iter().collect();
        state.nodes = image.nodes.into_iter().map(|node| (node.id, node)).collect();
        state.join_tokens = image.join_tokens.into_iter().map(|token| (token.id, token)).collect();
        state.autopilot = image.autopilot;
        for namespace in image.namespaces {
            state.namespaces.set(namespace);
        }
        for eval in image.evals {
            state.set_eval(eval);
        }
        for alloc in image.allocs {
            state.set_alloc(alloc);
        }
        for deployment in image.deployments {
            state.set_deployment(deployment);
        }
        Ok(state)
    }

    /// A number that is equal for equal states: FNV-1a over the image. Against mistakes, not against forgery.
    pub fn digest(&self) -> u64 {
        self.encode()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }
}
