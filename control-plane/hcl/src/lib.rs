//! drover-hcl
