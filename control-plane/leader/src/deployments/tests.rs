//! Tables for `deployments`.
