//! Tables for `unblock`.
