//! Lists in pages: a token names the first item of the next page.

use crate::problem::Problem;
use crate::query::ReadOptions;

/// Where an item stands in its list. Its text is the token that begins a page with it.
pub trait Place: Ord + Sized {
    /// The token.
    fn token(&self) -> String;
    /// Reads a token.
    fn parse(token: &str) -> Option<Self>;
}

/// By raft index of creation, then id: `16.8209b74b-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByCreation(pub u64, pub String);

impl Place for ByCreation {
    fn token(&self) -> String {
        format!("{}.{}", self.0, self.1)
    }

    fn parse(token: &str) -> Option<Self> {
        let (index, id) = token.split_once('.')?;
        Some(Self(index.parse().ok()?, id.to_owned()))
    }
}

/// By namespace, then id: `default.web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByName(pub String, pub String);

impl Place for ByName {
    fn token(&self) -> String {
        format!("{}.{}", self.0, self.1)
    }

    fn parse(token: &str) -> Option<Self> {
        let (namespace, id) = token.split_once('.')?;
        Some(Self(namespace.to_owned(), id.to_owned()))
    }
}

/// By id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ById(pub String);

impl Place for ById {
    fn token(&self) -> String {
        self.0.clone()
    }

    fn parse(token: &str) -> Option<Self> {
        Some(Self(token.to_owned()))
    }
}

/// By raft index of the last change: `142`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByChange(pub u64);

impl Place for ByChange {
    fn token(&self) -> String {
        self.0.to_string()
    }

    fn parse(token: &str) -> Option<Self> {
        token.parse().ok().map(Self)
    }
}

/// The page that is asked for, and the token of the next one.
///
/// # Errors
/// The token is none of this list.
pub fn page<P: Place, T>(
    mut items: Vec<(P, T)>,
    options: &ReadOptions,
    reverse: bool,
) -> Result<(Vec<T>, Option<String>), Problem> {
    items.sort_by(|a, b| if reverse { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    let start = match options.next_token.as_str() {
        "" => 0,
        token => {
            let first = P::parse(token).ok_or_else(|| Problem::Invalid("next_token is not valid".to_owned()))?;
            items.partition_point(|(place, _)| if reverse { *place > first } else { *place < first })
        }
    };
    let end = if options.per_page == 0 { items.len() } else { items.len().min(start.saturating_add(options.per_page)) };
    let next = items.get(end).map(|(place, _)| place.token());
    let page = items.into_iter().take(end).skip(start).map(|(_, item)| item).collect();
    Ok((page, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(per_page: usize, token: &str, reverse: bool, expected: &[u64], next: Option<&str>) {
        let items = [3, 1, 4, 2].map(|n| (ByCreation(n, "x".to_owned()), n)).to_vec();
        let options = ReadOptions { per_page, next_token: token.to_owned(), ..ReadOptions::default() };
        let (page, token) = page(items, &options, reverse).unwrap();
        assert_eq!((page.as_slice(), token.as_deref()), (expected, next));
    }

    #[test]
    fn pages_begin_with_their_token() {
        check(0, "", false, &[1, 2, 3, 4], None);
        check(3, "", false, &[1, 2, 3], Some("4.x"));
        check(3, "4.x", false, &[4], None);
        check(2, "", true, &[4, 3], Some("2.x"));
        check(2, "2.x", true, &[2, 1], None);
        // The item that the token names may be gone.
        check(1, "2.y", false, &[3], Some("4.x"));
        check(2, "9.x", false, &[], None);
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let options = ReadOptions { next_token: "zz".to_owned(), ..ReadOptions::default() };
        assert!(page(vec![(ByCreation(1, String::new()), 1)], &options, false).is_err());
    }
}
