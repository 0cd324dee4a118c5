//! Lists in pages: a token names the first item of the next page.

use crate::problem::Problem;
use crate::query::ReadOptions;

/// Where an item stands in its list. Its text is the token that begins a page with it.
pub trait Place: Ord + Sized {
    /// The token; `previous` is the last item of the page before.
    fn token(&self, previous: &Self) -> String;
    /// Reads a token of a list in this order.
    fn parse(token: &str, reverse: bool) -> Option<Self>;
}

/// By raft index of creation, then id: `16.8209b74b-…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByCreation(pub u64, pub String);

impl Place for ByCreation {
    fn token(&self, _previous: &Self) -> String {
        format!("{}.{}", self.0, self.1)
    }

    fn parse(token: &str, _reverse: bool) -> Option<Self> {
        let (index, id) = token.split_once('.')?;
        Some(Self(index.parse().ok()?, id.to_owned()))
    }
}

/// By namespace, then id: `default.web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByName(pub String, pub String);

impl Place for ByName {
    fn token(&self, _previous: &Self) -> String {
        format!("{}.{}", self.0, self.1)
    }

    fn parse(token: &str, _reverse: bool) -> Option<Self> {
        let (namespace, id) = token.split_once('.')?;
        Some(Self(namespace.to_owned(), id.to_owned()))
    }
}

/// By id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ById(pub String);

impl Place for ById {
    fn token(&self, _previous: &Self) -> String {
        self.0.clone()
    }

    fn parse(token: &str, _reverse: bool) -> Option<Self> {
        Some(Self(token.to_owned()))
    }
}

/// By raft index of the last change: `142`. One command can change several at once: a page that ends among them is
/// followed by one that begins at `142.default.web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByChange {
    index: u64,
    among: Among,
}

/// Where an item stands among those of the same index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Among {
    /// Before all of them.
    Before,
    /// By its name.
    At(String),
    /// Behind all of them.
    Behind,
}

impl ByChange {
    /// The place of an item that was last changed at that index.
    pub fn new(index: u64, namespace: &str, id: &str) -> Self {
        Self { index, among: Among::At(format!("{namespace}.{id}")) }
    }
}

impl Place for ByChange {
    fn token(&self, previous: &Self) -> String {
        match &self.among {
            Among::At(name) if previous.index == self.index => format!("{}.{name}", self.index),
            _ => self.index.to_string(),
        }
    }

    fn parse(token: &str, reverse: bool) -> Option<Self> {
        let (index, among) = match token.split_once('.') {
            Some((index, name)) => (index, Among::At(name.to_owned())),
            None => (token, if reverse { Among::Behind } else { Among::Before }),
        };
        Some(Self { index: index.parse().ok()?, among })
    }
}

/// The page that is asked for, and the token of the next one. What is not to be kept is passed over; it is asked only of
/// items up to the page's end.
///
/// # Errors
/// The token is none of this list, or what `keep` says.
pub fn page<P: Place, T>(
    mut items: Vec<(P, T)>,
    options: &ReadOptions,
    reverse: bool,
    keep: impl Fn(&T) -> Result<bool, Problem>,
) -> Result<(Vec<T>, Option<String>), Problem> {
    items.sort_by(|a, b| if reverse { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
    let start = match options.next_token.as_str() {
        "" => 0,
        token => {
            let first =
                P::parse(token, reverse).ok_or_else(|| Problem::Invalid("next_token is not valid".to_owned()))?;
            items.partition_point(|(place, _)| if reverse { *place > first } else { *place < first })
        }
    };
    let mut page = Vec::new();
    let mut last: Option<P> = None;
    for (place, item) in items.into_iter().skip(start) {
        if !keep(&item)? {
            continue;
        }
        if let Some(last) = &last
            && page.len() == options.per_page
        {
            return Ok((page, Some(place.token(last))));
        }
        page.push(item);
        last = (options.per_page > 0).then_some(place);
    }
    Ok((page, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(per_page: usize, token: &str, reverse: bool, expected: &[u64], next: Option<&str>) {
        let items = [3, 1, 4, 2].map(|n| (ByCreation(n, "x".to_owned()), n)).to_vec();
        let options = ReadOptions { per_page, next_token: token.to_owned(), ..ReadOptions::default() };
        let (page, token) = page(items, &options, reverse, |_| Ok(true)).unwrap();
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
    fn a_page_holds_only_what_is_kept() {
        let items: Vec<_> = (1..=6).map(|n| (ByCreation(n, "x".to_owned()), n)).collect();
        let options = ReadOptions { per_page: 2, next_token: "2.x".to_owned(), ..ReadOptions::default() };
        // The seventh is never asked about: the page and its successor stand before it.
        let keep = |n: &u64| if *n > 6 { Err(Problem::Failed("asked".to_owned())) } else { Ok(n.is_multiple_of(2)) };
        let with_last = [items.clone(), vec![(ByCreation(7, "x".to_owned()), 7)]].concat();
        assert_eq!(page(with_last, &options, false, keep), Ok((vec![2, 4], Some("6.x".to_owned()))));
    }

    #[test]
    fn items_that_changed_at_once_are_each_on_one_page() {
        let items: Vec<_> =
            [(7, "a"), (9, "b"), (9, "c"), (9, "d")].map(|(at, id)| (ByChange::new(at, "default", id), id)).to_vec();
        let check = |per_page: usize, token: &str, reverse: bool, expected: &[&str], next: Option<&str>| {
            let options = ReadOptions { per_page, next_token: token.to_owned(), ..ReadOptions::default() };
            let (page, token) = page(items.clone(), &options, reverse, |_| Ok(true)).unwrap();
            assert_eq!((page.as_slice(), token.as_deref()), (expected, next));
        };
        check(2, "", true, &["d", "c"], Some("9.default.b"));
        check(2, "9.default.b", true, &["b", "a"], None);
        check(3, "", true, &["d", "c", "b"], Some("7"));
        check(3, "7", true, &["a"], None);
        check(1, "", false, &["a"], Some("9"));
        check(2, "9", false, &["b", "c"], Some("9.default.d"));
        check(2, "9", true, &["d", "c"], Some("9.default.b"));
        check(2, "9.default.d", false, &["d"], None);
    }

    #[test]
    fn tokens_of_any_text_reach_the_caller() {
        let token = ByName("default".to_owned(), "wéb".to_owned()).token(&ByName(String::new(), String::new()));
        let reply = crate::reply::read(Vec::new(), crate::reply::Meta::default(), Some(&token));
        assert_eq!(reply.headers()["x-nomad-nexttoken"].as_bytes(), "default.wéb".as_bytes());
    }

    #[test]
    fn a_token_of_another_list_is_refused() {
        let options = ReadOptions { next_token: "zz".to_owned(), ..ReadOptions::default() };
        assert!(page(vec![(ByCreation(1, String::new()), 1)], &options, false, |_| Ok(true)).is_err());
    }
}
