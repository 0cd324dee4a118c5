//! drover-edge-agent
