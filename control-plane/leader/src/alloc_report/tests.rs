//! Tables for `alloc_report`.
