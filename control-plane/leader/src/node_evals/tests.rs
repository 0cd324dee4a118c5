//! Tables for `node_evals`.
