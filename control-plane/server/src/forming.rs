//! Whether this server forms its region now, waits, or has something to complain about. Pure.
//!
//! Gossip only tells who is there; that a set of servers agrees is settled between them before the log begins.

use std::collections::BTreeMap;

use drover_membership::{Member, MemberStatus};

/// What this server shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Too few servers are known.
    Wait {
        /// How many are.
        known: usize,
    },
    /// The region exists: its leader will take this server in.
    Join,
    /// Begin the log with these servers: RPC addresses by id.
    Bootstrap(BTreeMap<String, String>),
    /// Another of the servers that are to be its members begins it.
    Follow,
    /// Another server waits for another number of servers.
    Differs {
        /// Which.
        name: String,
        /// How many it waits for.
        theirs: u32,
    },
    /// Another server has this one's name.
    SameName {
        /// The other one's id.
        id: String,
    },
}

/// Decides for `own`, who waits for `own.bootstrap_expect` servers, by what is known of the others.
pub fn decide(own: &Member, members: &[Member]) -> Decision {
    let others: Vec<&Member> = members
        .iter()
        .filter(|member| member.region == own.region && member.id != own.id && member.status == MemberStatus::Alive)
        .collect();
    if let Some(other) = others.iter().find(|other| other.name == own.name) {
        return Decision::SameName { id: other.id.clone() };
    }
    if others.iter().any(|other| other.is_bootstrapped) {
        return Decision::Join;
    }
    let known = 1 + others.len();
    // One that names no number only joins regions that exist.
    let expecting = others.iter().filter(|other| other.bootstrap_expect != 0);
    if own.bootstrap_expect == 0 {
        return Decision::Wait { known };
    }
    if let Some(other) = expecting.clone().find(|other| other.bootstrap_expect != own.bootstrap_expect) {
        return Decision::Differs { name: other.full_name(), theirs: other.bootstrap_expect };
    }
    let mut set: BTreeMap<&str, &Member> = expecting.map(|other| (other.id.as_str(), *other)).collect();
    set.insert(&own.id, own);
    let wanted = own.bootstrap_expect as usize;
    if set.len() < wanted {
        return Decision::Wait { known };
    }
    // Everybody who knows the same servers comes to the same set, and the same one of them begins.
    let set: Vec<&Member> = set.into_values().take(wanted).collect();
    if set.first().is_some_and(|first| first.id == own.id) {
        Decision::Bootstrap(set.into_iter().map(|member| (member.id.clone(), member.rpc.to_string())).collect())
    } else {
        Decision::Follow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8, expect: u32) -> Member {
        let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port + u16::from(number)));
        Member {
            name: format!("s{number}"),
            region: "global".to_owned(),
            datacenter: "dc1".to_owned(),
            id: format!("id{number}"),
            gossip: address(2000),
            rpc: address(1000),
            http: String::new(),
            version: String::new(),
            bootstrap_expect: expect,
            is_bootstrapped: false,
            is_leader: false,
            incarnation: 0,
            status: MemberStatus::Alive,
        }
    }

    fn of_three() -> Vec<Member> {
        [1, 2, 3].map(|number| member(number, 3)).to_vec()
    }

    #[test]
    fn with_all_there_one_begins_and_the_others_follow() {
        let members = of_three();
        let Decision::Bootstrap(set) = decide(&members[0], &members) else { panic!("the first begins") };
        let expected = [("id1", "127.0.0.1:1001"), ("id2", "127.0.0.1:1002"), ("id3", "127.0.0.1:1003")];
        assert_eq!(set, expected.map(|(id, rpc)| (id.to_owned(), rpc.to_owned())).into());
        for own in &members[1..] {
            assert_eq!(decide(own, &members), Decision::Follow);
        }
    }

    #[test]
    fn too_few_wait() {
        let members = of_three();
        assert_eq!(decide(&members[0], &members[..2]), Decision::Wait { known: 2 });
        assert_eq!(decide(&members[0], &[]), Decision::Wait { known: 1 });
        // Those that do not answer do not count, nor do those of other regions.
        let mut gone = members.clone();
        gone[2].status = MemberStatus::Failed;
        assert_eq!(decide(&gone[0], &gone), Decision::Wait { known: 2 });
        let mut elsewhere = members;
        elsewhere[2].region = "west".to_owned();
        assert_eq!(decide(&elsewhere[0], &elsewhere), Decision::Wait { known: 2 });
    }

    #[test]
    fn a_region_that_exists_is_joined() {
        let mut members = of_three();
        members[2].is_bootstrapped = true;
        assert_eq!(decide(&members[0], &members), Decision::Join);
        members[2].status = MemberStatus::Failed;
        assert_eq!(decide(&members[0], &members), Decision::Wait { known: 2 });
    }

    #[test]
    fn another_number_and_the_same_name_are_said() {
        let mut members = of_three();
        members[1].bootstrap_expect = 5;
        let differs = Decision::Differs { name: "s2.global".to_owned(), theirs: 5 };
        assert_eq!(decide(&members[0], &members), differs);
        // One that only joins is in nobody's way, and begins nothing.
        members[1].bootstrap_expect = 0;
        assert_eq!(decide(&members[0], &members), Decision::Wait { known: 3 });
        assert_eq!(decide(&members[1], &members), Decision::Wait { known: 3 });
        members[1].name = "s1".to_owned();
        assert_eq!(decide(&members[0], &members), Decision::SameName { id: "id2".to_owned() });
    }

    #[test]
    fn more_than_needed_come_to_one_set() {
        let members: Vec<Member> = (1..=4).map(|number| member(number, 3)).collect();
        let Decision::Bootstrap(set) = decide(&members[0], &members) else { panic!("the first begins") };
        assert_eq!(set.keys().collect::<Vec<_>>(), ["id1", "id2", "id3"]);
        assert_eq!(decide(&members[3], &members), Decision::Follow);
    }
}
