//! drover-drivers
