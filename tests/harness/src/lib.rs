//! drover-harness
