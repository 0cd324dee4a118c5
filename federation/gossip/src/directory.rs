//! All members at one moment, and which of them answer for a region.

use std::collections::BTreeSet;

use crate::member::{Member, MemberStatus};

/// All members that are known, this server included, ordered by region and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    members: Vec<Member>,
}

/// Why no server can be asked for a region.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No member is of that region, but perhaps some that left.
    #[error("unknown region {0:?}")]
    UnknownRegion(String),
    /// The region is known and none of its servers answers.
    #[error("no server of region {0:?} answers")]
    Unreachable(String),
}

impl Directory {
    /// A directory of these members.
    pub fn new(mut members: Vec<Member>) -> Directory {
        members.sort_by(|a, b| (&a.region, &a.name).cmp(&(&b.region, &b.name)));
        Directory { members }
    }

    /// Every member, ordered by region and name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The names of all regions that are known, sorted. A region whose servers failed stays known until the last of them is
    /// forgotten; one whose servers all left is not one any more.
    pub fn regions(&self) -> Vec<String> {
        let stays = |member: &&Member| member.status != MemberStatus::Left;
        let names: BTreeSet<&str> = self.members.iter().filter(stays).map(|member| member.region.as_str()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    /// The member with this name in this region.
    pub fn find(&self, region: &str, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.region == region && member.name == name)
    }

    /// The member whose certificate carries this id. Where one server has been several members, the one that lives comes first.
    pub fn find_id(&self, region: &str, id: &str) -> Option<&Member> {
        let of_id = self.of_region(region).iter().filter(|member| member.id == id);
        of_id.min_by_key(|member| (!member.status.is_live(), std::cmp::Reverse(member.incarnation)))
    }

    /// The member that people mean by `name` or `name.region`. A bare name must be the only one.
    pub fn find_display(&self, text: &str) -> Option<&Member> {
        if let Some(member) = self.members.iter().find(|member| member.full_name() == text) {
            return Some(member);
        }
        let mut named = self.members.iter().filter(|member| member.name == text);
        named.next().filter(|_| named.next().is_none())
    }

    /// The servers of a region, whatever their status.
    pub fn of_region(&self, region: &str) -> &[Member] {
        let from = self.members.partition_point(|member| member.region.as_str() < region);
        let to = self.members.partition_point(|member| member.region.as_str() <= region);
        &self.members[from..to]
    }

    /// The servers of a region that answer, in the order in which to ask them: the one that says it leads, then those that stay,
    /// then those about to leave. `turn` rotates those that are equal, so that different askers ask different servers.
    pub fn route(&self, region: &str, turn: usize) -> Result<Vec<&Member>, RouteError> {
        let mut live: Vec<&Member> = self.of_region(region).iter().filter(|member| member.status.is_live()).collect();
        if live.is_empty() {
            let stays = self.of_region(region).iter().any(|member| member.status != MemberStatus::Left);
            let region = region.to_owned();
            return Err(if stays { RouteError::Unreachable(region) } else { RouteError::UnknownRegion(region) });
        }
        let turn = turn % live.len();
        live.rotate_left(turn);
        live.sort_by_key(|member| (member.status != MemberStatus::Alive, !member.is_leader));
        Ok(live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::member;

    fn with(name: &str, region: &str, status: MemberStatus) -> Member {
        Member { status, ..member(name, region) }
    }

    #[test]
    fn regions_are_sorted_and_outlive_their_servers() {
        let directory = Directory::new(vec![
            with("s1", "west", MemberStatus::Alive),
            with("s1", "east", MemberStatus::Failed),
            with("s2", "west", MemberStatus::Left),
            with("s1", "south", MemberStatus::Left),
        ]);
        assert_eq!(directory.regions(), ["east", "west"]);
        assert_eq!(directory.route("south", 0), Err(RouteError::UnknownRegion("south".into())));
        assert!(directory.of_region("a").is_empty() && directory.of_region("north").is_empty());
        assert_eq!(directory.route("east", 0), Err(RouteError::Unreachable("east".into())));
        assert_eq!(directory.route("north", 0), Err(RouteError::UnknownRegion("north".into())));
        assert_eq!(directory.route("west", 7).unwrap().len(), 1);
    }

    #[test]
    fn a_leader_is_asked_first_and_the_others_by_turns() {
        let mut members = vec![
            with("s1", "west", MemberStatus::Alive),
            with("s2", "west", MemberStatus::Alive),
            with("s3", "west", MemberStatus::Leaving),
        ];
        let first =
            |members: &[Member], turn| Directory::new(members.to_vec()).route("west", turn).unwrap()[0].name.clone();
        assert_eq!(
            (first(&members, 0), first(&members, 1), first(&members, 2)),
            ("s1".into(), "s2".into(), "s1".into())
        );
        members[1].is_leader = true;
        assert_eq!(first(&members, 0), "s2");
        // A server about to leave is asked last, leader or not.
        members[1].status = MemberStatus::Leaving;
        assert_eq!(first(&members, 0), "s1");
    }

    #[test]
    fn people_name_a_member_with_its_region_or_without() {
        let directory = Directory::new(vec![
            with("s1", "west", MemberStatus::Alive),
            with("s1", "east", MemberStatus::Alive),
            with("s2", "east", MemberStatus::Alive),
        ]);
        assert_eq!(directory.find_display("s2").map(|member| member.region.as_str()), Some("east"));
        assert_eq!(directory.find_display("s1.west").map(|member| member.region.as_str()), Some("west"));
        assert_eq!(directory.find_display("s1"), None);
        assert_eq!(directory.find_display("s9"), None);
    }
}
