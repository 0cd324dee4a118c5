//! Tables for `heartbeat`.
