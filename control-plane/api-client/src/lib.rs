//! drover-api-client
