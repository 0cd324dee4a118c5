//! How a server comes to its region: it gets the region's keys, finds the others, and forms the region with them or is taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use drover_certs::Authority;
use drover_membership::{GOSSIP_PORT, Member, MemberStatus, RetryJoin, resolve};
use drover_protocol::host_file::{HostFile, OWN_CERTIFICATES, OWN_CERTIFICATES_HELP};
use drover_protocol::server::{FromPeer, ToPeer};
use tokio::time::{Instant, sleep};

use crate::forming::{Decision, decide};
use crate::host_file::{self, Fellow};
use crate::joining::Joiner;
use crate::links::number_of_text;
use crate::server::Server;
use crate::{authority, chance, clock};

/// How long a server looks for fellows before it says what it waits for.
const SAY_AFTER: Duration = Duration::from_secs(2);
/// Between two looks at the files of this host.
const HOST_LOOK: Duration = Duration::from_millis(50);
/// Between two attempts with a token.
const TOKEN_RETRY: Duration = Duration::from_secs(1);
/// The wait after the first attempt to join that nobody answered; it doubles up to the configured one.
const JOIN_RETRY_MIN: Duration = Duration::from_millis(200);
/// Between two attempts to agree on who forms the region.
const FORM_RETRY: Duration = Duration::from_millis(200);
/// How long others have to agree.
const FORM_ANSWER_MAX: Duration = Duration::from_secs(3);
/// A promise to form a region with some servers is void after this: whoever was to begin it is lost for good. Not sooner,
/// because it may have begun and be out of reach.
const PROMISE_TIME: Duration = Duration::from_secs(60);

/// With whom this server has said that it forms the region.
#[derive(Default)]
pub struct Promise {
    /// RPC addresses by server id, and when it was said last.
    given: Option<(BTreeMap<String, String>, Instant)>,
    /// This server begins the region just now: it is too late for any other.
    is_begun: bool,
}

impl Promise {
    /// Promises, unless another promise stands against it; true when it was given. The server that was to begin the other
    /// set is free to give it up: if it belongs to the new set it must promise as well, and it knows whether it has begun.
    fn give(&mut self, members: &BTreeMap<String, String>, now: Instant) -> bool {
        if let Some((other, when)) = self.given.as_ref().filter(|(other, _)| other != members) {
            let is_given_up = other.keys().next().is_some_and(|beginner| members.contains_key(beginner));
            if self.is_begun || !(is_given_up || now.duration_since(*when) >= PROMISE_TIME) {
                return false;
            }
        }
        self.given = Some((members.clone(), now));
        true
    }

    /// From now on no other promise is given; false when another was given meanwhile.
    fn begin(&mut self, members: &BTreeMap<String, String>) -> bool {
        self.is_begun = self.given.as_ref().is_some_and(|(given, _)| given == members);
        self.is_begun
    }
}

/// Runs until the server is part of a region.
pub async fn run(server: Server) {
    obtain(&server).await;
    tokio::spawn(join(server.clone()));
    form(&server).await;
}

/// Waits until this server has the region's keys.
async fn obtain(server: &Server) {
    if server.has_own_certificates() {
        return;
    }
    let began = Instant::now();
    let (mut said, mut last_error) = (false, String::new());
    while server.authority().is_none() {
        let (found, wait) = match &server.inner.join_token {
            Some(_) => (by_token(server).await, TOKEN_RETRY),
            None => (on_this_host(server).await, HOST_LOOK),
        };
        match found {
            // A token may have been asked for meanwhile, which makes an authority.
            Ok(Some(authority)) if server.authority().is_none() => {
                if let Err(error) = server.adopt(authority) {
                    server.fail(format!("use the region's keys: {error}"));
                    return;
                }
            }
            Ok(_) => {}
            Err(error) if error != last_error => {
                tracing::warn!(%error, "the region's keys were not got, trying again");
                last_error = error;
            }
            Err(_) => {}
        }
        if !said && server.authority().is_none() && began.elapsed() > SAY_AFTER {
            said = true;
            say_what_is_missing(server);
        }
        sleep(wait).await;
    }
}

fn say_what_is_missing(server: &Server) {
    let join = &server.inner.settings.join;
    let names: Vec<&str> = join.once.iter().chain(&join.retry).map(String::as_str).collect();
    let (on, not_joined) = match names.as_slice() {
        [] => ("one server".to_owned(), String::new()),
        names => (format!("one of {}", names.join(", ")), " Until then nothing is joined.".to_owned()),
    };
    tracing::warn!(
        "this server waits for the region's keys: run the other servers on this host as the same user, or run `drover server \
         join-token create` on {on} and give the token to this one in DROVER_JOIN_TOKEN or server {{ join_token_file }}, or set \
         tls {{ rpc = true }} with certificates of your own on all.{not_joined}"
    );
}

fn joiner(server: &Server) -> Joiner<'_> {
    Joiner {
        endpoint: server.endpoint(),
        region: server.region_name(),
        id: &server.info().id,
        datacenter: &server.info().datacenter,
        ended: server.inner.ended.as_ref(),
    }
}

async fn by_token(server: &Server) -> Result<Option<Authority>, String> {
    let Some(token) = &server.inner.join_token else { return Ok(None) };
    let join = &server.inner.settings.join;
    let mut last = "a join token is there, and no server to join: name one in server_join { retry_join }".to_owned();
    for name in join.once.iter().chain(&join.retry) {
        let addresses = resolve(name).await.map_err(|e| format!("find {name:?}: {e}"))?;
        for address in addresses.into_iter().filter(|address| *address != server.info().gossip_advertise) {
            match joiner(server).by_token(address, token).await {
                Ok(authority) => return keep(server, authority),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
    }
    Err(last)
}

fn keep(server: &Server, authority: Authority) -> Result<Option<Authority>, String> {
    authority::keep(&server.inner.data_dir, &authority).map_err(|e| e.to_string())?;
    tracing::info!(root = %authority.fingerprint(), "the region's keys were handed over");
    Ok(Some(authority))
}

/// From a fellow that has them; or made, as the first of several that wait.
async fn on_this_host(server: &Server) -> Result<Option<Authority>, String> {
    let region = server.info().region.as_str();
    // Without a place for files there are no fellows; the token is the way then.
    let Ok(Some(lock)) = host_file::try_lock(region) else { return Ok(None) };
    let own = server.own_host_file();
    let Ok(files) = host_file::fellows(region, &own.rpc) else { return Ok(None) };
    let fellows = connected(&own, files);
    let mut refused = None;
    for fellow in fellows.iter().filter(|fellow| !fellow.is_waiting) {
        if fellow.content.fingerprint == OWN_CERTIFICATES {
            refused = Some(format!("{}: {OWN_CERTIFICATES_HELP}", fellow.content.rpc));
            continue;
        }
        match joiner(server).by_host_file(&fellow.content).await {
            Ok(authority) => return keep(server, authority),
            Err(error) => refused = Some(format!("{}: {error}", fellow.content.rpc)),
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    if fellows.is_empty() || server.info().bootstrap_expect == 0 {
        return Ok(None);
    }
    let authority = make(server).map_err(|e| e.to_string())?;
    // The others find it as soon as this server shows it: the lock is kept until then.
    server.adopt(authority).map_err(|e| e.to_string())?;
    drop(lock);
    Ok(None)
}

/// Makes the region's authority here.
fn make(server: &Server) -> Result<Authority, crate::StartError> {
    let made = authority::create(&server.inner.data_dir, server.region_name(), SystemTime::now())?;
    tracing::info!(root = %made.fingerprint(), "the region's authority was made here");
    Ok(made)
}

/// Those that belong to the same region to be, as far as the files tell: one names the other's gossip address, or neither names
/// any and both wait for the same number; and whoever is connected through such.
fn connected(own: &HostFile, files: Vec<Fellow>) -> Vec<Fellow> {
    let is_linked = |a: &HostFile, b: &HostFile| {
        let names = |a: &HostFile, b: &HostFile| a.joins.contains(&b.gossip);
        let neither = a.joins.is_empty() && b.joins.is_empty() && a.bootstrap_expect == b.bootstrap_expect;
        names(a, b) || names(b, a) || (neither && a.bootstrap_expect > 1)
    };
    let mut left = files;
    let mut found: Vec<Fellow> = Vec::new();
    loop {
        let (linked, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|file| {
            is_linked(own, &file.content) || found.iter().any(|other| is_linked(&other.content, &file.content))
        });
        if linked.is_empty() {
            return found;
        }
        found.extend(linked);
        left = rest;
    }
}

/// What a list of addresses says that needs no look-up: gossip addresses as text.
pub fn plain_addresses<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let plain = |name: &String| -> Option<SocketAddr> {
        let name = name.trim();
        name.parse().ok().or_else(|| Some(SocketAddr::new(name.parse::<IpAddr>().ok()?, GOSSIP_PORT)))
    };
    names.filter_map(plain).map(|address| address.to_string()).collect()
}

/// Finds other servers: those that are named, else those on this host.
async fn join(server: Server) {
    let settings = &server.inner.settings.join;
    if let Some(attempts) = settings.attempts_max.filter(|_| !settings.retry.is_empty()) {
        let options =
            RetryJoin { addresses: settings.retry.clone(), interval: settings.interval, attempts_max: Some(attempts) };
        if let Err(error) = server.inner.membership.retry_join(options).await {
            server.fail(format!("retry_join: {error}"));
        }
        return;
    }
    let mut wait = JOIN_RETRY_MIN;
    let (mut attempt, mut said) = (0_u32, String::new());
    // One per name and reason.
    let mut unknown = BTreeSet::new();
    loop {
        let names: Vec<&String> = if attempt == 0 {
            settings.once.iter().chain(&settings.retry).collect()
        } else {
            settings.retry.iter().collect()
        };
        let mut addresses = Vec::new();
        for name in &names {
            match resolve(name).await {
                Ok(found) => addresses.extend(found),
                Err(error) => {
                    let error = format!("{name}: {error}");
                    if !unknown.contains(&error) {
                        tracing::warn!(%error, "server to join not found, trying again");
                        unknown.insert(error);
                    }
                }
            }
        }
        if settings.once.is_empty() && settings.retry.is_empty() {
            let own = server.own_host_file();
            let files = host_file::fellows(&own.region, &own.rpc).unwrap_or_default();
            let fellows = connected(&own, files);
            addresses.extend(fellows.iter().filter_map(|fellow| fellow.content.gossip.parse::<SocketAddr>().ok()));
        }
        addresses.retain(|address| *address != server.info().gossip_advertise);
        addresses.sort();
        addresses.dedup();
        if !addresses.is_empty() {
            match server.inner.membership.join(&addresses).await {
                Ok(joined) => {
                    tracing::info!(servers = joined.answered, "joined");
                    return;
                }
                Err(error) => {
                    let error = error.to_string();
                    if said != error {
                        tracing::warn!(%error, "no server joined yet, trying again");
                        said = error;
                    }
                }
            }
        } else if server.is_formed() {
            // Nobody is named, and the region is there: others come to this one.
            return;
        }
        attempt += 1;
        // Servers that lost the same one at the same time do not all come back at once.
        sleep(spread(wait, chance::seed())).await;
        wait = (wait * 2).min(settings.interval.max(JOIN_RETRY_MIN));
    }
}

/// The wait and up to a quarter of it more, by a number.
fn spread(wait: Duration, number: u64) -> Duration {
    wait + wait / 4 * (number % 1024) as u32 / 1024
}

/// Forms the region with the others, or waits to be taken in.
async fn form(server: &Server) {
    let mut directory = server.inner.membership.watch();
    let mut leadership = server.inner.raft.leadership();
    let mut said = Decision::Wait { known: 0 };
    while !server.is_formed() {
        let members = directory.borrow_and_update().members().to_vec();
        let own = members.iter().find(|member| member.id == server.info().id).cloned();
        let decision = own.map_or(Decision::Wait { known: 0 }, |own| decide(&own, &members));
        if decision != said {
            say(server, &decision);
            said = decision.clone();
        }
        if let Decision::Bootstrap(set) = decision {
            match server.form_with(set).await {
                Ok(()) => break,
                Err(reason) => tracing::debug!(%reason, "the region was not formed yet, trying again"),
            }
            sleep(FORM_RETRY).await;
            continue;
        }
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

fn say(server: &Server, decision: &Decision) {
    let expected = server.info().bootstrap_expect;
    match decision {
        Decision::Wait { known } => tracing::info!(known, expected, "waiting for other servers"),
        Decision::Join => tracing::info!("the region is there, waiting to be taken in"),
        Decision::Follow => tracing::info!("all servers are there, another one begins"),
        Decision::Bootstrap(set) => tracing::info!(servers = set.len(), "all servers are there, forming the region"),
        Decision::Differs { name, theirs } => tracing::error!(
            "bootstrap_expect differs: {expected} here, {theirs} on {name}; the region is not formed until they agree"
        ),
        Decision::SameName { id } => {
            let name = &server.info().name;
            tracing::error!("server {id} has this server's name {name:?} too: give each its own; nothing is joined");
        }
    }
}

/// Follows who is where, and says of this server what it has become.
pub async fn follow_directory(server: Server) {
    let mut directory = server.inner.membership.watch();
    let mut leadership = server.inner.raft.leadership();
    let mut told = (false, false);
    loop {
        let members = directory.borrow_and_update().members().to_vec();
        let is_leader = leadership.borrow_and_update().is_leader;
        let known = addresses(&members, &server.info().region);
        server.inner.peer_links.retain(|number| known.contains_key(&number));
        server.inner.addresses.replace(known);
        let now = (server.is_formed(), is_leader);
        if now != told {
            told = now;
            server.inner.membership.update_own(move |own| (own.is_bootstrapped, own.is_leader) = now).await;
        }
        if leadership.borrow().leader.is_some() {
            server.hand_in_tokens().await;
        }
        tokio::select! {
            changed = directory.changed() => if changed.is_err() { return },
            changed = leadership.changed() => if changed.is_err() { return },
        }
    }
}

fn addresses(members: &[Member], region: &str) -> BTreeMap<u64, SocketAddr> {
    let live = members.iter().filter(|member| member.region == region && member.status == MemberStatus::Alive);
    live.filter_map(|member| Some((number_of_text(&member.id)?, member.rpc))).collect()
}

impl Server {
    /// The region has a log, as far as this server knows.
    pub fn is_formed(&self) -> bool {
        !self.inner.raft.members().is_empty()
    }

    /// Names of the regions that are known.
    pub fn regions(&self) -> Vec<String> {
        self.inner.membership.directory().regions()
    }

    /// This server's part in the gossip.
    pub fn membership(&self) -> &drover_membership::Membership {
        &self.inner.membership
    }

    /// Joins servers by their gossip addresses; gives how many answered, and why the others did not.
    pub async fn join(&self, names: &[&str]) -> (usize, Vec<(String, String)>) {
        let (mut joined, mut failures) = (0, Vec::new());
        for name in names {
            let answered = match resolve(name).await {
                Ok(addresses) => self.inner.membership.join(&addresses).await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match answered {
                Ok(_) => joined += 1,
                Err(reason) => failures.push(((*name).to_owned(), reason)),
            }
        }
        (joined, failures)
    }

    /// Declares a member gone that failed; with `prune` it is forgotten. A name that nobody has is no error.
    ///
    /// # Errors
    /// It is this server, or this server has left itself.
    pub async fn force_leave(&self, name: &str, prune: bool) -> Result<(), crate::Error> {
        use drover_membership::ForceLeaveError;
        match self.inner.membership.force_leave(name, prune).await {
            Ok(()) | Err(ForceLeaveError::Unknown(_)) => Ok(()),
            Err(error) => Err(crate::Error::Unavailable(error.to_string())),
        }
    }

    /// Promises to form the region with these servers and no others.
    pub(crate) fn promise(&self, members: BTreeMap<String, String>) -> Result<(), String> {
        if self.is_formed() || self.inner.raft.takes_part() {
            return Err("this server is part of a region already".to_owned());
        }
        let own = self.info();
        if members.get(&own.id) != Some(&own.rpc_advertise.to_string()) {
            return Err(format!("{} is not among these servers with the address that it has", own.name));
        }
        if own.bootstrap_expect as usize != members.len() {
            return Err(format!(
                "{} servers shall form the region, {} waits for {}",
                members.len(),
                own.name,
                own.bootstrap_expect
            ));
        }
        match self.promised().give(&members, Instant::now()) {
            true => Ok(()),
            false => Err(format!("{} has promised itself to other servers", own.name)),
        }
    }

    fn promised(&self) -> std::sync::MutexGuard<'_, Promise> {
        self.inner.promise.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Begins the region's log when all of these servers agree.
    async fn form_with(&self, set: BTreeMap<String, String>) -> Result<(), String> {
        self.promise(set.clone())?;
        let mut members = BTreeMap::new();
        for (id, address) in &set {
            let number = number_of_text(id).ok_or_else(|| format!("{id:?} is no server's id"))?;
            members.insert(number, address.clone());
        }
        let others = members.iter().filter(|(number, _)| **number != self.inner.number);
        let asked = others.map(|(number, address)| {
            let request = ToPeer::Form { members: set.clone() };
            async move { self.ask(*number, address, &request, FORM_ANSWER_MAX).await }
        });
        for answer in futures_util::future::join_all(asked).await {
            match answer {
                Ok(FromPeer::Done) => {}
                Ok(_) => return Err("another server answered another question".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
        }
        if !self.promised().begin(&set) {
            return Err("this server has promised itself to other servers meanwhile".to_owned());
        }
        let begun = self.inner.raft.initialize(members).await.map_err(|e| e.to_string());
        self.promised().is_begun = false;
        begun
    }

    /// The region's authority; made here when there is none, for a token that is asked of a server that waits.
    pub(crate) async fn authority_or_make(&self) -> Result<Authority, crate::Error> {
        if let Some(authority) = self.authority() {
            return Ok(authority);
        }
        if self.has_own_certificates() {
            let text = "this region's certificates are of your own authority (tls { rpc = true }): nobody needs a token; make \
                        certificates with `drover tls cert create`";
            return Err(crate::Error::Invalid(text.to_owned()));
        }
        let (expected, has_token) = (self.info().bootstrap_expect, self.inner.join_token.is_some());
        if expected == 0 || has_token {
            return Err(crate::Error::Unavailable("this server waits to be taken into a region itself".to_owned()));
        }
        let failed = |error: String| crate::Error::Internal {
            public: "the region's authority can't be made".to_owned(),
            private: error,
        };
        let lock = host_file::lock(&self.info().region).await;
        let _lock = lock.map_err(|e| failed(e.to_string()))?.ok_or_else(|| {
            crate::Error::Unavailable("another server of this host makes the authority just now: ask again".to_owned())
        })?;
        if let Some(authority) = self.authority() {
            return Ok(authority);
        }
        let made = make(self).map_err(|e| failed(e.to_string()))?;
        self.adopt(made.clone()).map_err(|e| failed(e.to_string()))?;
        Ok(made)
    }

    /// Tokens that were made before there was a leader enter the state.
    async fn hand_in_tokens(&self) {
        let unusable = |error: std::io::Error| tracing::warn!(%error, "the list of join tokens can't be written");
        loop {
            let token = match self.inner.waiting_tokens.take() {
                Ok(Some(token)) => token,
                Ok(None) => return,
                Err(error) => return unusable(error),
            };
            if !token.is_valid_at(clock::now()) {
                continue;
            }
            let command = drover_state::Command::AddJoinToken { token: Box::new(token.clone()) };
            match self.propose(command).await {
                Ok(_) => {}
                // Surely not in the log.
                Err(error @ crate::Error::NoLeader) => {
                    tracing::warn!(%error, "join token not handed in, trying again with the next leader");
                    return self.inner.waiting_tokens.add(token).unwrap_or_else(unusable);
                }
                // Perhaps in it: kept here as well it would have its uses twice.
                Err(error) => {
                    tracing::warn!(id = %token.id, %error, "join token perhaps not handed in: if it is not known, make another");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use drover_protocol::host_file::{HOST_FILE_VERSION, NO_FINGERPRINT};

    use super::*;

    fn file(port: u16, expect: u32, joins: &[u16]) -> HostFile {
        HostFile {
            version: HOST_FILE_VERSION,
            region: "global".to_owned(),
            fingerprint: NO_FINGERPRINT.to_owned(),
            secret: "cd".repeat(32),
            rpc: format!("127.0.0.1:1{port}"),
            http: String::new(),
            pid: 1,
            gossip: format!("127.0.0.1:{port}"),
            bootstrap_expect: expect,
            joins: joins.iter().map(|port| format!("127.0.0.1:{port}")).collect(),
        }
    }

    #[test]
    fn fellows_are_those_that_name_each_other() {
        let check = |own: HostFile, others: &[HostFile], expected: &[&str]| {
            let files = others.iter().map(|content| Fellow { content: content.clone(), is_waiting: true }).collect();
            let found: Vec<String> = connected(&own, files).into_iter().map(|fellow| fellow.content.gossip).collect();
            assert_eq!(found, expected.iter().map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>());
        };
        // A chain: the first names the second, the third names the second.
        check(file(1, 3, &[2]), &[file(2, 3, &[]), file(3, 3, &[2])], &["2", "3"]);
        // Another cluster of the same region on the same host.
        check(file(1, 3, &[2]), &[file(2, 3, &[1]), file(4, 3, &[5]), file(5, 3, &[4])], &["2"]);
        // Nobody names anybody: the number decides, and one alone has no fellows.
        check(file(1, 3, &[]), &[file(2, 3, &[]), file(3, 5, &[]), file(4, 1, &[])], &["2"]);
        check(file(1, 1, &[]), &[file(2, 1, &[])], &[]);
    }

    #[test]
    fn a_promise_stands_until_whoever_was_to_begin_gives_it_up() {
        let set = |ids: &[&str]| -> BTreeMap<String, String> {
            ids.iter().map(|id| ((*id).to_owned(), format!("{id}:4647"))).collect()
        };
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let mut promise = Promise::default();
        assert!(promise.give(&set(&["a", "b", "c"]), now));
        assert!(promise.give(&set(&["a", "b", "c"]), later(1)));
        // `a` may have begun and be out of reach.
        assert!(!promise.give(&set(&["b", "d", "e"]), later(20)));
        assert!(promise.give(&set(&["a", "b", "d"]), later(20)));
        assert!(!promise.begin(&set(&["a", "b", "c"])));
        assert!(promise.give(&set(&["b", "d", "e"]), later(81)));
        assert!(promise.begin(&set(&["b", "d", "e"])));
        assert!(!promise.give(&set(&["b", "c", "e"]), later(1000)));
    }

    #[test]
    fn waits_are_spread_and_bounded() {
        let wait = Duration::from_secs(4);
        assert_eq!((spread(wait, 0), spread(wait, 512)), (wait, Duration::from_millis(4500)));
        assert!((0..5000).all(|number| (wait..Duration::from_secs(5)).contains(&spread(wait, number))));
    }

    #[test]
    fn addresses_that_need_no_look_up() {
        let names = ["127.0.0.1:5".to_owned(), "10.0.0.1".to_owned(), "host".to_owned()];
        assert_eq!(plain_addresses(names.iter()), ["127.0.0.1:5", "10.0.0.1:4648"]);
    }
}
