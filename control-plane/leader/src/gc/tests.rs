//! Tables for collection.
