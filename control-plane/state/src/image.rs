//! The image of the whole state: what a raft snapshot carries and what the digest is taken of.
//!
//! Eight bytes that say what it is, one byte for the form's version, four bytes for the number of sections, then per
//! section eight bytes length and the section; numbers are big endian. A section is a part of the state in the packed form
//! ([`crate::packed`]), readable alone: so a large image is written and read by several threads at once, and never lies in
//! memory twice. Allocs stand by job, so that neighbours have much in common. Secondary indexes are not in it, they are
//! built again.
//!
//! Version 1 was all of it as one MessagePack with field names, without the number and the length; it is still read.
//!
//! This crate has no threads: whoever has some gives [`Run`].

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
use crate::packed;
use crate::scaling::JobScaling;
use crate::scheduler_config::SchedulerConfig;
use crate::state::{State, TableIndexes};
use crate::submission::Submission;
use crate::summary::JobSummary;

mod assembly;
mod list;
#[cfg(test)]
mod tests;

const MAGIC: &[u8; 8] = b"drover\0S";
/// The version of the form this code writes. It reads all versions up to it.
pub const VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
/// How deep values may lie in each other in an image of the first version, as MessagePack counts it: it counts no variants, of
/// which no value of a state lies in so many, and what is read must be one that can be written and read again.
const FIRST_DEPTH_MAX: usize = packed::DEPTH_MAX - 16;

/// How many things of a kind one section holds: enough that what repeats is said seldom, few enough that there is work
/// for several threads.
const ALLOCS_PER_SECTION: usize = 8192;
const EVALS_PER_SECTION: usize = 8192;
const NODES_PER_SECTION: usize = 1024;
/// Of everything that belongs to jobs; one may be as long as a thousand allocs.
const OF_JOBS_PER_SECTION: usize = 512;

/// Bytes that are no image of a state.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// They do not begin as an image does.
    #[error("not an image of a drover state")]
    Header,
    /// A later drover wrote them.
    #[error("image of a state has version {0}, this drover reads versions up to {VERSION}")]
    Version(u8),
    /// Values lie in each other deeper than they could be written again.
    #[error("image of a state holds values that lie in each other more than {0} deep")]
    Deep(usize),
    /// Its end is missing, or something follows it.
    #[error("image of a state is damaged: it has another length than it says")]
    Length,
    /// A section does not read.
    #[error("image of a state is damaged")]
    Section(#[source] packed::Error),
    /// An image of the first version does not read.
    #[error("image of a state is damaged")]
    Body(#[source] rmp_serde::decode::Error),
}

/// A piece of work that stands alone.
pub type Task<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Does all of this work, in any order and on as many threads as it likes, and returns when all is done.
pub type Run<'a> = &'a dyn Fn(Vec<Task<'_>>);

/// Does it here, one after the other.
pub fn in_turn(tasks: Vec<Task<'_>>) {
    tasks.into_iter().for_each(|task| task());
}

/// A part of a state, or all of it.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Image {
    index: u64,
    table_indexes: TableIndexes,
    jobs: Vec<JobKey>,
    #[serde(deserialize_with = "list::read")]
    versions: Vec<Arc<Job>>,
    submissions: Vec<(JobKey, u64, Arc<Submission>)>,
    summaries: Vec<(JobKey, Arc<JobSummary>)>,
    scaling: Vec<(JobKey, Arc<JobScaling>)>,
    launches: Vec<(JobKey, Timestamp)>,
    #[serde(deserialize_with = "list::read")]
    nodes: Vec<Arc<Node>>,
    #[serde(deserialize_with = "list::read")]
    evals: Vec<Arc<Eval>>,
    #[serde(deserialize_with = "list::read")]
    allocs: Vec<Arc<Alloc>>,
    #[serde(deserialize_with = "list::read")]
    deployments: Vec<Arc<Deployment>>,
    join_tokens: Vec<Arc<JoinToken>>,
    autopilot: Option<Arc<AutopilotConfig>>,
    namespaces: Vec<Arc<NamespaceSpec>>,
    scheduler_config: Option<Arc<SchedulerConfig>>,
}

impl State {
    /// The image of the whole state.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(&in_turn).concat()
    }

    /// The image of the whole state, in parts that follow each other.
    pub fn encode_with(&self, run: Run<'_>) -> Vec<Vec<u8>> {
        let sections = self.sections();
        let mut head = MAGIC.to_vec();
        head.push(VERSION);
        head.extend((sections.len() as u32).to_be_bytes());
        let mut written = vec![Vec::new(); sections.len()];
        let write = |(section, bytes): (Image, &mut Vec<u8>)| {
            *bytes = packed::to_bytes(&section)
                .expect("the types of the state hold no numbers of 128 bits and no lists of unknown length");
        };
        run(sections.into_iter().zip(&mut written).map(|pair| -> Task<'_> { Box::new(move || write(pair)) }).collect());
        let mut parts = Vec::with_capacity(written.len() * 2 + 1);
        parts.push(head);
        for section in written {
            parts.push((section.len() as u64).to_be_bytes().to_vec());
            parts.push(section);
        }
        parts
    }

    /// The state that these bytes are the image of.
    pub fn decode(bytes: &[u8]) -> Result<State, DecodeError> {
        Self::decode_with(bytes, &in_turn)
    }

    /// As [`State::decode`], with somebody who does the work.
    pub fn decode_with(bytes: &[u8], run: Run<'_>) -> Result<State, DecodeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Header)?;
        let (&version, body) = rest.split_first().ok_or(DecodeError::Header)?;
        match version {
            FIRST_VERSION => Ok(assembly::assemble(vec![read_first(body)?], run)),
            VERSION => Ok(assembly::assemble(read_sections(&split(body)?, run)?, run)),
            other => Err(DecodeError::Version(other)),
        }
    }

    /// Whether [`State::decode_with`] would read these bytes: no more than a few sections are in memory at a time.
    ///
    /// # Errors
    /// It would not.
    pub fn check(bytes: &[u8], run: Run<'_>) -> Result<(), DecodeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Header)?;
        let (&version, body) = rest.split_first().ok_or(DecodeError::Header)?;
        match version {
            FIRST_VERSION => read_first(body).map(drop),
            VERSION => {
                let sections = split(body)?;
                let mut read: Vec<Result<(), packed::Error>> = sections.iter().map(|_| Ok(())).collect();
                let task = |(bytes, into): (&[u8], &mut Result<(), packed::Error>)| {
                    *into = packed::from_bytes::<Image>(bytes).map(drop);
                };
                let pairs = sections.into_iter().zip(&mut read);
                run(pairs.map(|pair| -> Task<'_> { Box::new(move || task(pair)) }).collect());
                read.into_iter().collect::<Result<(), _>>().map_err(section_error)
            }
            other => Err(DecodeError::Version(other)),
        }
    }

    /// A number that is equal for equal states: FNV-1a over the image. Against mistakes, not against forgery.
    pub fn digest(&self) -> u64 {
        self.encode()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// The state in parts. Each holds what the state holds and copies nothing.
    fn sections(&self) -> Vec<Image> {
        let mut sections = vec![Image {
            index: self.index,
            table_indexes: self.table_indexes,
            autopilot: self.autopilot.clone(),
            scheduler_config: self.scheduler_config.clone(),
            join_tokens: self.join_tokens.values().cloned().collect(),
            namespaces: self.namespaces.all().cloned().collect(),
            launches: self.launches.iter().map(|(key, at)| (key.clone(), *at)).collect(),
            ..Image::default()
        }];
        let mut add = |section: Image| sections.push(section);
        let versions = self.versions.values().flat_map(|versions| versions.values()).cloned();
        cut(versions, OF_JOBS_PER_SECTION, |versions| add(Image { versions, ..Image::default() }));
        cut(self.jobs.keys().cloned(), NODES_PER_SECTION, |jobs| add(Image { jobs, ..Image::default() }));
        let texts = |(key, texts): (&JobKey, &imbl::OrdMap<u64, Arc<Submission>>)| {
            texts.iter().map(|(version, text)| (key.clone(), *version, text.clone())).collect::<Vec<_>>()
        };
        let submissions = self.submissions.iter().flat_map(texts);
        cut(submissions, OF_JOBS_PER_SECTION, |submissions| add(Image { submissions, ..Image::default() }));
        let summaries = self.summaries.iter().map(|(key, summary)| (key.clone(), summary.clone()));
        cut(summaries, OF_JOBS_PER_SECTION, |summaries| add(Image { summaries, ..Image::default() }));
        let scaling = self.scaling.iter().map(|(key, events)| (key.clone(), events.clone()));
        cut(scaling, OF_JOBS_PER_SECTION, |scaling| add(Image { scaling, ..Image::default() }));
        cut(self.nodes.values().cloned(), NODES_PER_SECTION, |nodes| add(Image { nodes, ..Image::default() }));
        cut(self.evals.values().cloned(), EVALS_PER_SECTION, |evals| add(Image { evals, ..Image::default() }));
        // Every alloc belongs to a job, by the name at least.
        let of_jobs = self.of_job.values().flat_map(|of_job| &of_job.allocs);
        let allocs = of_jobs.filter_map(|id| self.allocs.get(id)).cloned();
        cut(allocs, ALLOCS_PER_SECTION, |allocs| add(Image { allocs, ..Image::default() }));
        let deployments = self.deployments.values().cloned();
        cut(deployments, OF_JOBS_PER_SECTION, |deployments| add(Image { deployments, ..Image::default() }));
        sections
    }
}

/// Hands things on, so many at a time.
fn cut<T>(mut things: impl Iterator<Item = T>, count: usize, mut add: impl FnMut(Vec<T>)) {
    loop {
        let some: Vec<T> = things.by_ref().take(count).collect();
        if some.is_empty() {
            return;
        }
        add(some);
    }
}

/// What an image says of its version: its first bytes are enough. None for what is no image.
pub fn version(begin: &[u8]) -> Option<u8> {
    begin.strip_prefix(MAGIC)?.first().copied()
}

/// How many bytes [`version`] wants to see.
pub const BEGIN_BYTES: usize = MAGIC.len() + 1;

fn section_error(error: packed::Error) -> DecodeError {
    match error {
        packed::Error::Depth => DecodeError::Deep(packed::DEPTH_MAX),
        error => DecodeError::Section(error),
    }
}

/// An image of the first version, behind the version's byte.
fn read_first(body: &[u8]) -> Result<Image, DecodeError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(body);
    reader.set_max_depth(FIRST_DEPTH_MAX);
    Image::deserialize(&mut reader).map_err(|error| match error {
        rmp_serde::decode::Error::DepthLimitExceeded => DecodeError::Deep(FIRST_DEPTH_MAX),
        error => DecodeError::Body(error),
    })
}

/// The sections behind the version's byte.
fn split(body: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    let (count, mut rest) = body.split_first_chunk::<4>().ok_or(DecodeError::Length)?;
    let mut sections = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let (len, behind) = rest.split_first_chunk::<8>().ok_or(DecodeError::Length)?;
        let len = usize::try_from(u64::from_be_bytes(*len)).map_err(|_| DecodeError::Length)?;
        let (section, behind) = behind.split_at_checked(len).ok_or(DecodeError::Length)?;
        sections.push(section);
        rest = behind;
    }
    if rest.is_empty() { Ok(sections) } else { Err(DecodeError::Length) }
}

fn read_sections(sections: &[&[u8]], run: Run<'_>) -> Result<Vec<Image>, DecodeError> {
    let mut read: Vec<Result<Image, packed::Error>> = sections.iter().map(|_| Ok(Image::default())).collect();
    let task = |(bytes, into): (&&[u8], &mut Result<Image, packed::Error>)| {
        *into = packed::from_bytes(bytes).map(|mut image: Image| {
            assembly::share(&mut image.allocs);
            image
        });
    };
    run(sections.iter().zip(&mut read).map(|pair| -> Task<'_> { Box::new(move || task(pair)) }).collect());
    read.into_iter().collect::<Result<_, _>>().map_err(section_error)
}
