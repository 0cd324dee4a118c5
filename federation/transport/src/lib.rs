//! drover-transport
