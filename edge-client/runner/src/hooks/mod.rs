//! What is done around the start of a task, one step per file.

pub mod devices;
pub mod dirs;
pub mod dispatch_payload;
pub mod network;
pub mod unacted;
pub mod user;
pub mod volumes;

use std::time::Instant;

use drover_model::node::Node;

/// What the hooks of one alloc are measured under.
pub(crate) struct Measured<'a> {
    /// Where they are done.
    pub(crate) node: &'a Node,
    /// That of the alloc.
    pub(crate) namespace: &'a str,
}

impl Measured<'_> {
    /// Does a hook of the alloc.
    pub(crate) fn of_alloc<T, E>(&self, name: &str, hook: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let names = [
            "nomad.client.alloc_hook.prerun.success",
            "nomad.client.alloc_hook.prerun.failed",
            "nomad.client.alloc_hook.prerun.elapsed",
        ];
        self.measure(names, name, hook)
    }

    /// Does a hook of one of its tasks.
    pub(crate) fn of_task<T, E>(&self, name: &str, hook: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let names = [
            "nomad.client.task_hook.prestart.success",
            "nomad.client.task_hook.prestart.failed",
            "nomad.client.task_hook.prestart.elapsed",
        ];
        self.measure(names, name, hook)
    }

    fn measure<T, E>(
        &self,
        [success, failed, elapsed]: [&'static str; 3],
        name: &str,
        hook: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let result = hook();
        let id = self.node.id.to_string();
        let labels = [
            ("datacenter", self.node.datacenter.as_str()),
            ("hook_name", name),
            ("namespace", self.namespace),
            ("node_class", self.node.node_class.as_str()),
            ("node_id", id.as_str()),
            ("node_pool", self.node.node_pool.as_str()),
        ];
        drover_metrics::count(if result.is_ok() { success } else { failed }, &labels, 1.0);
        drover_metrics::duration(elapsed, &labels, began.elapsed());
        result
    }
}
