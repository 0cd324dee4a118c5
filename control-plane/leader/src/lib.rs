//! drover-leader
