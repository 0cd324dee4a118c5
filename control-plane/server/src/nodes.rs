//! Nodes: eligibility, evaluation, purge.

use drover_leader::node_evals;
use drover_model::eval::EvalTrigger;
use drover_model::node::{Eligibility, Node};
use drover_model::{EvalId, NodeId};
use drover_state::Command;

use crate::error::Error;
use crate::server::Server;
use crate::{chance, clock};

/// What became of a write to a node.
#[derive(Clone, Debug, Default)]
pub struct NodeWritten {
    /// The evals that were made.
    pub eval_ids: Vec<EvalId>,
    /// Raft index of the write.
    pub index: u64,
}

impl Server {
    fn known_node(&self, node_id: NodeId) -> Result<std::sync::Arc<Node>, Error> {
        let snapshot = self.reading().snapshot;
        snapshot.node(node_id).cloned().ok_or_else(|| Error::Conflict("node not found".to_owned()))
    }

    async fn write_node(
        &self,
        node_id: NodeId,
        command: impl FnOnce(Vec<drover_model::eval::Eval>, drover_model::Timestamp) -> Command,
    ) -> Result<NodeWritten, Error> {
        let at = clock::now();
        let snapshot = self.read(false).await?.snapshot;
        let evals = node_evals::evals(&snapshot, node_id, EvalTrigger::NodeUpdate, at, chance::seed());
        let eval_ids = evals.iter().map(|eval| eval.id).collect();
        let (index, _) = self.propose(command(evals, at)).await?;
        Ok(NodeWritten { eval_ids, index })
    }

    /// Opens or closes a node for placements.
    ///
    /// # Errors
    /// The node is unknown or drains.
    pub async fn set_node_eligibility(&self, node_id: NodeId, eligibility: Eligibility) -> Result<NodeWritten, Error> {
        let node = self.known_node(node_id)?;
        if node.drain_strategy.is_some() && eligibility == Eligibility::Eligible {
            let text = "can not set node's scheduling eligibility to eligible while it is draining";
            return Err(Error::Conflict(text.to_owned()));
        }
        self.write_node(node_id, |evals, at| Command::UpdateNodeEligibility { node_id, eligibility, evals, at }).await
    }

    /// Makes evals of the jobs on a node.
    ///
    /// # Errors
    /// The node is unknown.
    pub async fn evaluate_node(&self, node_id: NodeId) -> Result<NodeWritten, Error> {
        self.known_node(node_id)?;
        self.write_node(node_id, |evals, at| Command::UpsertEvals { evals, at }).await
    }

    /// Forgets a node. One that still runs registers again with its next heartbeat.
    ///
    /// # Errors
    /// The node is unknown.
    pub async fn purge_node(&self, node_id: NodeId) -> Result<NodeWritten, Error> {
        self.known_node(node_id)?;
        self.write_node(node_id, |evals, at| Command::DeregisterNode { node_id, evals, at }).await
    }
}
