//! What may stand in a job file: one table per block, one file per noun.

pub mod job;

pub mod group;

pub mod task;

pub mod network;

pub mod constraint;

pub mod policy;

pub mod service;

pub mod connect;
