//! drover-state
