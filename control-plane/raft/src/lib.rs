//! drover-raft
