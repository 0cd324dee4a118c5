//! Paths: percent decoding, and patterns that say which paths a route answers.
//!
//! `:name` stands for one segment, `*name` for one or more (a job's id may hold slashes). Matching is on the decoded
//! path, and the first route that matches has it: what follows a `*name` wins over a longer name.

/// What the names of a pattern stand for in a path, in the pattern's order.
pub type Params = Vec<(&'static str, String)>;

/// Decodes `%2F` and its like; nothing when it is not valid or not text.
pub fn decode(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digit = |place: usize| tail.get(place).and_then(|&c| (c as char).to_digit(16));
        let (high, low) = (digit(0)?, digit(1)?);
        bytes.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// What the pattern's names stand for, when the path is one of its paths.
pub fn matches(pattern: &'static str, path: &str) -> Option<Params> {
    let mut params = Params::new();
    let mut path = path;
    let mut pattern = pattern;
    loop {
        let Some(start) = pattern.find([':', '*']) else {
            return (pattern == path).then_some(params);
        };
        path = path.strip_prefix(&pattern[..start])?;
        let many = pattern[start..].starts_with('*');
        let named = &pattern[start + 1..];
        let (name, after) = named.split_at(named.find('/').unwrap_or(named.len()));
        let value = if many {
            // There is at most one such name in a pattern: what follows it has as many segments as the pattern says.
            match after.matches('/').count() {
                0 => path,
                behind => &path[..path.rmatch_indices('/').nth(behind - 1)?.0],
            }
        } else {
            &path[..path.find('/').unwrap_or(path.len())]
        };
        if value.is_empty() {
            return None;
        }
        params.push((name, value.to_owned()));
        path = &path[value.len()..];
        pattern = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_decoding() {
        let check = |raw: &str, expected: Option<&str>| assert_eq!(decode(raw).as_deref(), expected, "{raw}");
        check("a%2Fb%20c", Some("a/b c"));
        check("%e2%82%ac", Some("€"));
        check("%2", None);
        check("%zz", None);
        check("%ff", None);
        check("%+1", None);
        check("", Some(""));
    }

    #[test]
    fn patterns() {
        let check = |pattern: &'static str, path: &str, expected: Option<&[&str]>| {
            let found = matches(pattern, path).map(|params| params.into_iter().map(|(_, v)| v).collect::<Vec<_>>());
            let expected = expected.map(|values| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expected, "{pattern} on {path}");
        };
        check("/v1/jobs", "/v1/jobs", Some(&[]));
        check("/v1/jobs", "/v1/jobs/", None);
        check("/v1/node/:id", "/v1/node/abc", Some(&["abc"]));
        check("/v1/node/:id", "/v1/node/", None);
        check("/v1/node/:id", "/v1/node/a/b", None);
        check("/v1/node/:id/purge", "/v1/node/a/purge", Some(&["a"]));
        check("/v1/job/*id", "/v1/job/a/b/c", Some(&["a/b/c"]));
        check("/v1/job/*id/plan", "/v1/job/a/b/plan", Some(&["a/b"]));
        check("/v1/job/*id/plan", "/v1/job/plan", None);
        check("/v1/job/*id/plan", "/v1/job//plan", None);
        check("/v1/job/*id/plan", "/v1/job/plan/plan", Some(&["plan"]));
        check("/v1/job/*id/versions/:tag/tag", "/v1/job/a/b/versions/t/tag", Some(&["a/b", "t"]));
        check("/v1/job/*id/versions/:tag/tag", "/v1/job/a/versions/t/u/tag", None);
        check("/v1/job/*id/versions/:tag/tag", "/v1/job/versions/t/tag", None);
        check("/v1/job/*id/versions/:tag/tag", "/v1/job/a/versions//tag", None);
    }
}
