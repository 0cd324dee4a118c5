//! Join tokens, made by the program under measurement on its own server's host.

use std::process::Command;

use anyhow::bail;
use drover_harness::Agent;

use crate::product::Product;

/// For clients.
pub fn of_client(product: &Product, server: &Agent) -> anyhow::Result<String> {
    made(product, server, &["node", "join-token", "create"])
}

/// For the first server of another region below the same root.
pub fn of_region(product: &Product, server: &Agent, region: &str) -> anyhow::Result<String> {
    made(product, server, &["server", "join-token", "create", "-region", region])
}

fn made(product: &Product, server: &Agent, words: &[&str]) -> anyhow::Result<String> {
    let said = Command::new(&product.binary)
        .args(words)
        .env("DROVER_ADDR", server.address())
        .env_remove("NOMAD_ADDR")
        .env_remove("DROVER_REGION")
        .env_remove("NOMAD_REGION")
        .output()?;
    if !said.status.success() {
        bail!("{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}
