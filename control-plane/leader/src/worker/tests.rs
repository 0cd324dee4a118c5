//! Tables for `worker`.
