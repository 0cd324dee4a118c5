//! drover-jobspec
