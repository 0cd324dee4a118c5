//! How a machine says which node it is where its certificate states a role alone: with a signature of its own key over the
//! connection's key material.
//!
//! Both sides of such a connection introduce themselves: the dialler on a stream of its own, the listener behind its welcome.

use drover_certs::NodeKey;
use drover_certs::node_key::{INTRODUCTION_LEN, introduced};
use quinn::Side;

use crate::close::{CloseCode, Closed};
use crate::peer::Refusal;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-drover-node/1";

/// This side's introduction on this connection.
pub(crate) fn introduction(connection: &quinn::Connection, key: &NodeKey) -> Result<[u8; INTRODUCTION_LEN], Closed> {
    let failed = |what: &str| Closed::Failed(what.to_owned());
    let material = material(connection, connection.side()).ok_or_else(|| failed("no keying material"))?;
    key.introduce(&material).map_err(|error| failed(&error.to_string()))
}

/// Sends this side's introduction, as the dialler.
pub(crate) async fn introduce(connection: &quinn::Connection, key: &NodeKey) -> Result<(), Closed> {
    let introduction = introduction(connection, key)?;
    let mut stream = connection.open_uni().await?;
    // A listener that needs none stops the stream, and a lost connection is noticed at the welcome.
    let _ = stream.write_all(&introduction).await;
    let _ = stream.finish();
    Ok(())
}

/// Which node the other side says and proves that it is.
pub(crate) async fn read_introduction(
    connection: &quinn::Connection,
    stream: &mut quinn::RecvStream,
) -> Result<String, Refusal> {
    let refused = || Refusal::new(CloseCode::CERTIFICATE_REFUSED, "the certificate names no node, and none was proved");
    let mut introduction = [0; INTRODUCTION_LEN];
    stream.read_exact(&mut introduction).await.map_err(|_| refused())?;
    let other = if connection.side().is_client() { Side::Server } else { Side::Client };
    let material = material(connection, other).ok_or_else(refused)?;
    introduced(&material, &introduction).ok_or_else(refused)
}

/// Key material that only the two ends of this connection have, another for each direction.
fn material(connection: &quinn::Connection, speaker: Side) -> Option<[u8; 32]> {
    let context: &[u8] = if speaker.is_client() { b"dialler" } else { b"listener" };
    let mut material = [0; 32];
    connection.export_keying_material(&mut material, EXPORTER_LABEL, context).ok()?;
    Some(material)
}
