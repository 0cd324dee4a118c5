//! drover-agent-config
