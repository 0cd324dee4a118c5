//! drover-architecture
