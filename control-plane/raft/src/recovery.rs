//! A region that has lost its quorum for good, brought back by a peers file.
//!
//! The operator stops all servers that are left, writes the same `peers.json` into the raft directory of each, and
//! starts them. Each one appends the new members to its log, in a term of its own that no leader ever had, and takes
//! them for the region's from then on. Then they elect a leader as ever: the one with the most of the log wins, and the
//! others follow its log. Nothing is declared committed that was not, and writes that only the lost servers had are lost.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use openraft::storage::{RaftLogStorage, RaftStateMachine};
use openraft::{BasicNode, EntryPayload, Membership, RaftLogReader};
use serde::Deserialize;

use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::node::Settings;
use crate::types::{Entry, LogId, Vote};

/// The file's name, and what it is called when it has been taken.
const FILE: &str = "peers.json";
const TAKEN: &str = "peers.json.taken";
/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a peers file is not taken. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// It can't be read.
    #[error("read {}", path.display())]
    Read {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no list of servers.
    #[error("{} is not a list of servers, each with id, address and non_voter", path.display())]
    Form {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It can't be a region.
    #[error("{}: {reason}", path.display())]
    Nonsense {
        /// Where it is.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The log did not take it.
    #[error("write the servers of {} to the log", path.display())]
    Write {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    address: String,
    #[serde(default)]
    non_voter: bool,
}

/// Takes the peers file, if there is one, and renames it.
pub async fn apply(settings: &Settings, log: &mut LogStore, machine: &Machine) -> Result<(), RecoveryError> {
    let path = settings.dir.join(FILE);
    let text = match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(RecoveryError::Read { path, source }),
        Ok(text) => text,
    };
    let rows: Vec<Row> =
        serde_json::from_slice(&text).map_err(|source| RecoveryError::Form { path: path.clone(), source })?;
    let members = members(&rows, settings).map_err(|reason| RecoveryError::Nonsense { path: path.clone(), reason })?;
    let names: Vec<&str> = rows.iter().map(|row| row.address.as_str()).collect();
    tracing::warn!(servers = ?names, "the region's servers are those of the peers file from now on");
    let written = async {
        rewrite(settings, log, machine.clone(), members).await?;
        fs::rename(&path, path.with_file_name(TAKEN))?;
        fs::File::open(&settings.dir)?.sync_all()
    };
    written.await.map_err(|source| RecoveryError::Write { path: path.clone(), source })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn members(rows: &[Row], settings: &Settings) -> Result<Membership<u64, BasicNode>, String> {
    let mut nodes = BTreeMap::new();
    for row in rows {
        let number = number(&row.id).ok_or_else(|| format!("`{}` is not the id of a server", row.id))?;
        if row.address.is_empty() {
            return Err(format!("server {} has no address", row.id));
        }
        let is_known = |node: &BasicNode| node.addr == row.address;
        if nodes.values().any(is_known) || nodes.contains_key(&number) {
            return Err(format!("server {} or its address is there twice", row.id));
        }
        nodes.insert(number, BasicNode { addr: row.address.clone() });
    }
    let voters = rows.iter().filter(|row| !row.non_voter).filter_map(|row| number(&row.id)).collect();
    if !nodes.contains_key(&settings.node_id) {
        return Err(format!("it does not name this server, {:016x}", settings.node_id));
    }
    if rows.iter().all(|row| row.non_voter) {
        return Err("it names no voter".to_owned());
    }
    Membership::new(vec![voters], nodes).map_err(|e| e.to_string())
}

/// A server's number from its id: the first eight bytes of a UUID.
fn number(id: &str) -> Option<u64> {
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let digits: String = id.chars().filter(|char| *char != '-').take(16).collect();
    is_uuid.then(|| u64::from_str_radix(&digits, 16).ok()).flatten()
}

async fn rewrite(
    settings: &Settings,
    log: &mut LogStore,
    mut machine: Machine,
    members: Membership<u64, BasicNode>,
) -> io::Result<()> {
    let applied = machine.applied_state().await?.0;
    let last = log.get_log_state().await?.last_log_id.max(applied);
    let voted = log.read_vote().await?.map_or(0, |vote| vote.leader_id.term);
    // Above every term this server knows: no entry of any leader is told apart from this one by its place alone.
    let term = voted.max(last.map_or(0, |id| id.leader_id.term)) + 1;
    let log_id = LogId::new_term_index(term, last.map_or(0, |id| id.index + 1));
    // The vote first: an entry must never be of a later term than it.
    log.save_vote(&Vote::new(term, settings.node_id)).await?;
    let entry = Entry { log_id, payload: EntryPayload::Membership(members) };
    log.append_durably(entry).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_beginning_of_an_id() {
        assert_eq!(number("00000000-0000-0007-1111-222222222222"), Some(7));
        assert_eq!(number("ffffffff-ffff-ffff-1111-222222222222"), Some(u64::MAX));
        assert_eq!(number("7"), None);
        assert_eq!(number("00000000-0000-000g-1111-222222222222"), None);
    }

    #[test]
    fn a_list_that_is_no_region_is_refused_in_one_line() {
        let settings = Settings::new(PathBuf::new(), 7, "a:1".to_owned());
        let id = |number: u64| format!("00000000-0000-{number:04x}-1111-222222222222");
        let check = |rows: &[(u64, &str, bool)], expected: Result<usize, &str>| {
            let row = |(number, address, non_voter): &(u64, &str, bool)| Row {
                id: id(*number),
                address: (*address).to_owned(),
                non_voter: *non_voter,
            };
            let rows: Vec<Row> = rows.iter().map(row).collect();
            let result = members(&rows, &settings).map(|members| members.voter_ids().count());
            assert_eq!(result, expected.map_err(str::to_owned));
        };
        check(&[(7, "a:1", false), (8, "a:2", true)], Ok(1));
        check(&[(8, "a:2", false)], Err("it does not name this server, 0000000000000007"));
        check(&[(7, "a:1", true)], Err("it names no voter"));
        check(&[], Err("it does not name this server, 0000000000000007"));
        let twice = format!("server {} or its address is there twice", id(8));
        check(&[(7, "a:1", false), (8, "a:1", false)], Err(&twice));
    }
}
