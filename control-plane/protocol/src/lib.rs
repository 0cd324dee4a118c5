//! Messages that cross a machine boundary, and their form: MessagePack with field names, so that a field added with a
//! default still reads what an older peer sends.

pub mod codec;
pub mod edge;
pub mod edge_node;
pub mod enrol;
pub mod heartbeat;
pub mod host_file;
pub mod server;

mod bounds;
