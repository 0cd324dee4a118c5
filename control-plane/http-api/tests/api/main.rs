//! The API over a real listener and a real server, with a real log on disk. No edge: what edges answer is tested with
//! the whole program.

mod calls;
mod jobs;
mod limits;
mod shapes;
mod support;
