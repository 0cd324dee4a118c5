//! Gives certificates to those who may join: with a token, from the same host, or with a certificate to renew.

use std::time::{Duration, SystemTime};

use drover_certs::{Identity, PublicKey, Role, Secret};
use drover_model::node::NodeStatus;
use drover_protocol::codec;
use drover_protocol::enrol::{ENROL_BYTES_MAX, EnrolAnswer, EnrolRequest, Proof, RegionKeys};
use drover_transport::{Candidate, CloseCode};
use serde_bytes::ByteBuf;

use crate::clock;
use crate::server::Server;
use drover_state::Command;
use drover_state::join_token::JoinToken;

/// How long a certificate lives.
const LEAF_LIFETIME: Duration = Duration::from_secs(72 * 3600);
/// The longest time for one enrolment.
const ENROL_TIME_MAX: Duration = Duration::from_secs(20);

/// Answers one candidate's requests; mostly there is one.
pub async fn serve(server: Server, candidate: Candidate) {
    let answered = tokio::time::timeout(ENROL_TIME_MAX, async {
        let mut stream = candidate.connection.accept_stream().await.ok()?;
        let frame = stream.recv_frame(ENROL_BYTES_MAX).await.ok()??;
        let answer = match codec::decode_bounded::<EnrolRequest>(&frame) {
            Ok(request) => enrol(&server, &candidate, request).await,
            Err(error) => Err(error.to_string()),
        };
        let answer = answer.unwrap_or_else(|reason| {
            tracing::warn!(from = %candidate.connection.remote_address(), %reason, "enrolment refused");
            EnrolAnswer::Refused { reason }
        });
        stream.send_frame(&codec::encode(&answer)).await.ok()?;
        stream.finish();
        // The joiner closes when it has read the answer.
        candidate.connection.closed().await;
        Some(())
    });
    if answered.await.is_err() {
        candidate.connection.close(CloseCode::ENROLMENT_OVER, "enrolment took too long");
    }
}

async fn enrol(server: &Server, candidate: &Candidate, request: EnrolRequest) -> Result<EnrolAnswer, String> {
    let key = PublicKey::from_signing_request(&request.csr).map_err(|e| e.to_string())?;
    let role: Role = request.role.parse().map_err(|e| format!("{e}"))?;
    request.node.parse::<drover_model::NodeId>().map_err(|e| format!("node id: {e}"))?;
    if role == Role::Server && server.info().stays_alone {
        return Err("this is a server for trying things out (-dev): it takes no other server in".to_owned());
    }
    let authority = server.authority().ok_or("this server has no certificate itself yet")?;
    let identity = Identity::new(authority.region().clone(), role, &request.node).map_err(|e| e.to_string())?;
    let mac = check_proof(server, candidate, &request, &identity, &key).await?;
    let leaf = authority.issue(&key, &identity, SystemTime::now(), LEAF_LIFETIME).map_err(|e| e.to_string())?;
    let chain = leaf.chain().iter().map(|der| ByteBuf::from(der.to_vec())).collect::<Vec<_>>();
    let keys = (role == Role::Server).then(|| {
        let texts = authority.without_root_key().to_pem();
        RegionKeys { root: texts.root, region: texts.intermediate, key: texts.key }
    });
    tracing::info!(node = %request.node, %role, "certificate issued");
    Ok(EnrolAnswer::Issued { chain, region: authority.region().to_string(), mac, servers: server.peers(), keys })
}

/// Whether the candidate may have this certificate; gives this server's own proof where the host file was used.
async fn check_proof(
    server: &Server,
    candidate: &Candidate,
    request: &EnrolRequest,
    identity: &Identity,
    key: &PublicKey,
) -> Result<Option<[u8; 32]>, String> {
    match &request.proof {
        Proof::HostFile { mac } => {
            let secret = &server.inner.host_secret;
            if !candidate.connection.check_proof(secret, mac) {
                return Err("the host file's secret is another one".to_owned());
            }
            candidate.connection.prove(secret).map(Some).map_err(|e| e.to_string())
        }
        Proof::Token { secret } => {
            let secret: Secret = secret.parse().map_err(|_| "join token refused".to_owned())?;
            spend_token(server, request, secret.hash().0).await?;
            Ok(None)
        }
        // A server issues its own certificates: it has the keys.
        Proof::Renewal if identity.role == Role::Server => Err("a server renews its certificate itself".to_owned()),
        Proof::Renewal => match &candidate.presented {
            Some(shown) if shown.identity == *identity && shown.public_key == *key => Ok(None),
            Some(_) => Err("a renewal is for the same node and key".to_owned()),
            None => Err("a renewal shows the certificate that it renews".to_owned()),
        },
    }
}

async fn spend_token(server: &Server, request: &EnrolRequest, secret_hash: [u8; 32]) -> Result<(), String> {
    let now = clock::now();
    if request.role == Role::Server.as_str() {
        // Whoever has a token must not take over a server that lives.
        let directory = server.inner.membership.directory();
        let other = directory.find_id(&server.info().region, &request.node);
        if other.is_some_and(|member| member.status.is_live()) {
            return Err("a server with this id is here".to_owned());
        }
    }
    // Made here before there was a leader, and not in the state yet.
    if let Some(token) = server.inner.waiting_tokens.find(&secret_hash, &request.role, now) {
        admits(&token, request)?;
        return match server.inner.waiting_tokens.spend(&token, now) {
            Ok(true) => Ok(()),
            Ok(false) => Err("join token refused".to_owned()),
            Err(error) => {
                tracing::error!(%error, "join token not spent");
                Err("join tokens can't be spent now".to_owned())
            }
        };
    }
    let reading = server.read(false).await.map_err(|e| e.to_string())?;
    let token = reading
        .snapshot
        .join_tokens()
        .find(|token| token.secret_hash == secret_hash && token.role == request.role && token.is_valid_at(now))
        .cloned()
        .ok_or("join token refused")?;
    admits(&token, request)?;
    // Whoever has a token must not take over a node that has a certificate and lives; one that has lost its own is down.
    let node = request.node.parse().ok().and_then(|id: drover_model::NodeId| reading.snapshot.node(id));
    if node.is_some_and(|node| node.status == NodeStatus::Ready) {
        return Err("a node with this id is here: it renews with the certificate that it has".to_owned());
    }
    let spend = Command::SpendJoinToken { id: token.id, secret_hash, at: now };
    server.propose(spend).await.map(|_| ()).map_err(|e| e.to_string())
}

fn admits(token: &JoinToken, request: &EnrolRequest) -> Result<(), String> {
    if !token.node_pool.is_empty() && token.node_pool != request.node_pool {
        return Err(format!("this join token is for node pool {:?}", token.node_pool));
    }
    if !token.datacenter.is_empty() && token.datacenter != request.datacenter {
        return Err(format!("this join token is for datacenter {:?}", token.datacenter));
    }
    Ok(())
}
