//! drover-http-api
