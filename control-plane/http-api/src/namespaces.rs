//! Namespaces: read, made, changed, forgotten.

use drover_model::Namespace;
use drover_model::namespace::{Capabilities, NamespaceSpec};
use drover_server::Watch;
use drover_state::Table;

use crate::blocking::{Seen, read};
use crate::body::Fields;
use crate::call::Call;
use crate::problem::Problem;
use crate::reply::{self, Reply};
use crate::views::namespace::NamespaceView;

const WATCH: [Watch; 1] = [Watch::Table(Table::Namespaces)];

pub(crate) async fn list(call: Call) -> Result<Reply, Problem> {
    read(&call, &WATCH, |reading, options| {
        let all = reading.snapshot.namespaces();
        let asked = all.filter(|namespace| namespace.name.as_str().starts_with(&options.prefix));
        let views: Vec<_> = asked.map(|namespace| NamespaceView::new(namespace)).collect();
        Seen::value(reading.snapshot.table_index(Table::Namespaces), &views, &call)
    })
    .await
}

pub(crate) async fn get(call: Call) -> Result<Reply, Problem> {
    let name = name(&call)?;
    read(&call, &WATCH, |reading, _| match reading.snapshot.namespace(&name) {
        Some(namespace) => Seen::value(namespace.modify_index, &NamespaceView::new(namespace), &call),
        None => Ok(Seen::missing(reading.snapshot.table_index(Table::Namespaces), "Namespace not found")),
    })
    .await
}

fn name(call: &Call) -> Result<Namespace, Problem> {
    match call.param("name") {
        "" => Err(Problem::Invalid("Missing Namespace Name".to_owned())),
        name => Ok(name.into()),
    }
}

pub(crate) async fn put(mut call: Call) -> Result<Reply, Problem> {
    let namespace = spec(&call.take_fields().await?)?;
    let named = call.param("name");
    if !named.is_empty() && named != namespace.name.as_str() {
        return Err(Problem::Invalid("Namespace name does not match request path".to_owned()));
    }
    check(&namespace)?;
    let index = call.api.server.put_namespace(namespace).await.map_err(Problem::of_write)?;
    Ok(reply::done_at(index))
}

/// The path names no namespace.
pub(crate) async fn unnamed(_: Call) -> Result<Reply, Problem> {
    Err(Problem::Invalid("Missing Namespace Name".to_owned()))
}

fn spec(fields: &Fields) -> Result<NamespaceSpec, Problem> {
    let name = fields.text("Name")?;
    match fields.text("Quota")? {
        "" => {}
        quota => {
            return Err(Problem::Failed(format!("namespace {name:?} using non-existent quota {quota:?}")));
        }
    }
    let unsupported = ["NodePoolConfiguration", "VaultConfiguration", "ConsulConfiguration"];
    for field in unsupported.into_iter().chain(["RequiredExtraClaims", "OptionalExtraClaims"]) {
        let is_set = fields.get(field).is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty()));
        if is_set {
            return Err(Problem::Invalid(format!("field {field} is not supported yet")));
        }
    }
    let capabilities = fields.object("Capabilities")?.map(|given| {
        Ok::<_, Problem>(Capabilities {
            enabled_task_drivers: given.list("EnabledTaskDrivers")?,
            disabled_task_drivers: given.list("DisabledTaskDrivers")?,
            enabled_network_modes: given.list("EnabledNetworkModes")?,
            disabled_network_modes: given.list("DisabledNetworkModes")?,
        })
    });
    Ok(NamespaceSpec {
        name: name.into(),
        description: fields.text("Description")?.to_owned(),
        meta: fields.texts("Meta")?,
        capabilities: capabilities.transpose()?,
        ..NamespaceSpec::default()
    })
}

fn check(namespace: &NamespaceSpec) -> Result<(), Problem> {
    let problems = namespace.problems();
    if problems.is_empty() {
        return Ok(());
    }
    let list = drover_jobspec::multierror(&problems);
    Err(Problem::Failed(format!("Invalid namespace {:?}: {list}", namespace.name.as_str())))
}

pub(crate) async fn delete(call: Call) -> Result<Reply, Problem> {
    let name = name(&call)?;
    let index = call.api.server.delete_namespace(name).await.map_err(Problem::of_write)?;
    Ok(reply::done_at(index))
}
