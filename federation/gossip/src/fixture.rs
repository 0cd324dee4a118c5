//! Members for the tests.

use crate::member::{Member, MemberStatus};

pub(crate) fn member(name: &str, region: &str) -> Member {
    Member {
        name: name.into(),
        region: region.into(),
        datacenter: "dc1".into(),
        id: format!("id-{name}-{region}"),
        gossip: "127.0.0.1:4648".parse().unwrap(),
        rpc: "127.0.0.1:4647".parse().unwrap(),
        http: "127.0.0.1:4646".into(),
        version: "0.1.0".into(),
        bootstrap_expect: 3,
        is_bootstrapped: false,
        is_leader: false,
        incarnation: 1000,
        status: MemberStatus::Alive,
    }
}
