//! Evals that duties make, with ids derived from a seed.

use drover_model::eval::{Eval, EvalTrigger};
use drover_model::job::Job;
use drover_model::{EvalId, Timestamp};

/// Ids from a seed (splitmix64): the same seed gives the same ids.
pub(crate) struct Ids {
    state: u64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Ids for a duty that gets no seed: from the time and whom it concerns.
    pub(crate) fn at(now: Timestamp, concerns: &[u8]) -> Self {
        // FNV-1a; splitmix64 mixes it well.
        let hash = concerns.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { state: hash ^ now.0.cast_unsigned() }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn eval_id(&mut self) -> EvalId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number().to_le_bytes());
        bytes[8..].copy_from_slice(&self.number().to_le_bytes());
        EvalId::from_random(bytes)
    }

    /// A pending eval of that job.
    pub(crate) fn eval(&mut self, job: &Job, triggered_by: EvalTrigger) -> Eval {
        Eval {
            id: self.eval_id(),
            namespace: job.namespace.clone(),
            priority: job.priority,
            kind: job.kind,
            triggered_by,
            job_id: job.id.clone(),
            job_modify_index: job.job_modify_index,
            ..Eval::default()
        }
    }

    /// A new eval that is otherwise as that one.
    pub(crate) fn like(&mut self, eval: &Eval, triggered_by: EvalTrigger) -> Eval {
        Eval {
            id: self.eval_id(),
            namespace: eval.namespace.clone(),
            priority: eval.priority,
            kind: eval.kind,
            triggered_by,
            job_id: eval.job_id.clone(),
            job_modify_index: eval.job_modify_index,
            ..Eval::default()
        }
    }
}
