//! Gives certificates to those who may join: with a token, from the same host, or with a certificate to renew.

use std::time::{Duration, SystemTime};

use drover_certs::{Identity, PublicKey, Role, Secret};
use drover_model::Timestamp;
use drover_model::node::NodeStatus;
use drover_protocol::codec;
use drover_protocol::enrol::{ENROL_BYTES_MAX, EnrolAnswer, EnrolRequest, Proof, RegionKeys};
use drover_protocol::host_file::OWN_CERTIFICATES_HELP;
use drover_transport::{Candidate, CloseCode};
use serde_bytes::ByteBuf;

use crate::clock;
use crate::join_tokens::JOIN_TOKEN_TTL_MAX;
use crate::region_token::Granted;
use crate::server::Server;
use drover_state::Command;
use drover_state::join_token::JoinToken;

/// How long a certificate lives.
const LEAF_LIFETIME: Duration = Duration::from_secs(72 * 3600);
/// How far apart the clocks of a region's servers may be for a token to count.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(3600);
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
    if server.has_own_certificates() {
        return Err(format!("no certificates are issued here: {OWN_CERTIFICATES_HELP}"));
    }
    let own = server.authority().ok_or("this server has no certificate itself yet")?;
    let founds = !request.region.is_empty() && request.region != own.region().as_str();
    if founds && !(role == Role::Server && matches!(request.proof, Proof::Token { .. })) {
        return Err(format!("this server is of region {}, not of {:?}", own.region(), request.region));
    }
    if founds && !own.has_root_key() {
        // Before the token is spent.
        return Err(
            "this server has not the root's key: name the server that made the token in server_join { retry_join }"
                .to_owned(),
        );
    }
    let region =
        if founds { request.region.parse().map_err(|e| format!("region: {e}"))? } else { own.region().clone() };
    let identity = Identity::new(region, role, &request.node).map_err(|e| e.to_string())?;
    let (mac, token) = check_proof(server, candidate, &request, &identity, &key).await?;
    let authority = match token {
        Some(token) if founds => match server.found_region(&own, &token, &request.node, request.held).await? {
            Granted::New(authority) => *authority,
            Granted::Renewed(certificate) => return Ok(EnrolAnswer::RegionRenewed { certificate }),
        },
        _ => own,
    };
    let now = authority.floored(SystemTime::now());
    let leaf = authority.issue(&key, &identity, now, LEAF_LIFETIME).map_err(|e| e.to_string())?;
    let chain = leaf.chain().iter().map(|der| ByteBuf::from(der.to_vec())).collect::<Vec<_>>();
    let keys = (role == Role::Server).then(|| {
        let texts = authority.without_root_key().to_pem();
        RegionKeys { root: texts.root, region: texts.intermediate, key: texts.key }
    });
    tracing::info!(node = %request.node, %role, "certificate issued");
    Ok(EnrolAnswer::Issued { chain, region: authority.region().to_string(), mac, servers: server.peers(), keys })
}

/// This server's own proof where the host file was used, and the token where one was spent.
type Proved = (Option<[u8; 32]>, Option<JoinToken>);

/// Whether the candidate may have this certificate; gives this server's own proof where the host file was used.
async fn check_proof(
    server: &Server,
    candidate: &Candidate,
    request: &EnrolRequest,
    identity: &Identity,
    key: &PublicKey,
) -> Result<Proved, String> {
    match &request.proof {
        Proof::HostFile { mac } => {
            let secret = &server.inner.host_secret;
            if !candidate.connection.check_proof(secret, mac) {
                return Err("the host file's secret is another one".to_owned());
            }
            let mac = candidate.connection.prove(secret).map_err(|e| e.to_string())?;
            Ok((Some(mac), None))
        }
        Proof::Token { secret } => {
            let secret: Secret = secret.parse().map_err(|_| unknown_token(request))?;
            Ok((None, Some(spend_token(server, request, secret.hash().0).await?)))
        }
        // A server issues its own certificates: it has the keys.
        Proof::Renewal if identity.role == Role::Server => Err("a server renews its certificate itself".to_owned()),
        Proof::Renewal => match &candidate.presented {
            Some(shown) if shown.identity == *identity && shown.public_key == *key => Ok((None, None)),
            Some(_) => Err("a renewal is for the same node and key".to_owned()),
            None => Err("a renewal shows the certificate that it renews".to_owned()),
        },
    }
}

async fn spend_token(server: &Server, request: &EnrolRequest, secret_hash: [u8; 32]) -> Result<JoinToken, String> {
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
    if let Some(token) = server.inner.waiting_tokens.find(&secret_hash) {
        admits(server, &token, request, now)?;
        return match server.inner.waiting_tokens.spend(&token, now) {
            Ok(true) => Ok(token),
            Ok(false) => Err(unknown_token(request)),
            Err(error) => {
                tracing::error!(%error, "join token not spent");
                Err("join tokens can't be spent now".to_owned())
            }
        };
    }
    let reading = server.read(false).await.map_err(|e| e.to_string())?;
    let token = reading.snapshot.join_tokens().find(|token| token.secret_hash == secret_hash);
    let token = JoinToken::clone(token.ok_or_else(|| unknown_token(request))?);
    admits(server, &token, request, now)?;
    // Whoever has a token must not take over a node that has a certificate and lives; one that has lost its own is down.
    let node = request.node.parse().ok().and_then(|id: drover_model::NodeId| reading.snapshot.node(id));
    if node.is_some_and(|node| node.status == NodeStatus::Ready) {
        return Err("a node with this id is here: it renews with the certificate that it has".to_owned());
    }
    let spend = Command::SpendJoinToken { id: token.id, secret_hash, at: now };
    server.propose(spend).await.map_err(|e| e.to_string())?;
    Ok(token)
}

/// Who has the secret may know why it does not count.
fn unknown_token(request: &EnrolRequest) -> String {
    format!("this join token is not known here: {}", help(&request.role))
}

fn help(role: &str) -> &'static str {
    match role {
        "server" => "make another with `drover server join-token create`",
        _ => "make another with `drover node join-token create`",
    }
}

fn admits(server: &Server, token: &JoinToken, request: &EnrolRequest, now: Timestamp) -> Result<(), String> {
    let help = help(&request.role);
    if token.role != request.role {
        return Err(format!("this join token is for a {}, not for a {}: {help}", token.role, request.role));
    }
    let of_token = if token.region.is_empty() { &server.info().region } else { &token.region };
    let asked = if request.region.is_empty() { &server.info().region } else { &request.region };
    if of_token != asked {
        return Err(format!("this join token is for region {of_token}, not for {asked}: {help} there"));
    }
    if now >= token.expires_at {
        let end = token.expires_at.to_rfc3339().unwrap_or_default();
        return Err(format!("this join token ended at {end}: {help}"));
    }
    if token.expires_at > now.plus(JOIN_TOKEN_TTL_MAX).plus(CLOCKS_APART_MAX) {
        return Err(format!("this join token was made when a server's clock was far ahead: {help}"));
    }
    if token.uses_left == Some(0) {
        return Err(format!("this join token is used up: {help}"));
    }
    if let Ok(region) = token.region.parse() {
        // Before it is spent: another token may have founded the region.
        server.check_new(&region)?;
        server.check_not_founded(&region, token.id, &request.node)?;
        // And its certificate may be one that nobody renews.
        request.held.as_ref().map_or(Ok(()), |held| server.check_held(&region, held))?;
    }
    if !token.node_pool.is_empty() && token.node_pool != request.node_pool {
        return Err(format!("this join token is for node pool {:?}", token.node_pool));
    }
    if !token.datacenter.is_empty() && token.datacenter != request.datacenter {
        return Err(format!("this join token is for datacenter {:?}", token.datacenter));
    }
    Ok(())
}
