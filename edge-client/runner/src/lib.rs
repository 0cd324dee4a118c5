//! drover-runner
