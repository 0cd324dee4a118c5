//! drover-protocol
