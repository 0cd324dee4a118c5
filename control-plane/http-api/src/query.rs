//! The parameters of a request: decoding, the ones that every read knows, and the texts when one is wrong.

use std::time::Duration;

use drover_model::time::parse_duration;

use crate::path::decode;
use crate::problem::Problem;

/// The wait of a blocking read that names none, and the longest one.
pub const WAIT_MAX: Duration = Duration::from_secs(300);

/// The parameters of a request in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

/// A value that is no truth value. The text is what the standard parser of such values says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadBool {
    /// The value.
    pub value: String,
}

impl BadBool {
    /// What is wrong.
    pub fn text(&self) -> String {
        format!("strconv.ParseBool: parsing {:?}: invalid syntax", self.value)
    }
}

impl Query {
    /// Reads the part of a target behind the question mark. What is not text is passed over.
    pub fn parse(raw: Option<&str>) -> Self {
        let parts = raw.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs = parts.filter_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let text = |text: &str| decode(&text.replace('+', " "));
            Some((text(name)?, text(value)?))
        });
        Self { pairs: pairs.collect() }
    }

    /// The first value of that name; an empty one counts.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Every value of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The first value of that name; empty text when there is none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A truth value; `default` when the parameter is absent or empty.
    ///
    /// # Errors
    /// It is none of the words for true and false.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, BadBool> {
        match self.text(name) {
            "" => Ok(default),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            value => Err(BadBool { value: value.to_owned() }),
        }
    }

    /// As [`Query::flag`], with the status and text of the routes of jobs.
    ///
    /// # Errors
    /// It is none of the words for true and false.
    pub fn job_flag(&self, name: &str, default: bool) -> Result<bool, Problem> {
        self.flag(name, default).map_err(|bad| {
            Problem::Failed(format!("Failed to parse value of {name:?} ({}) as a bool: {}", bad.value, bad.text()))
        })
    }

    /// The namespace asked for.
    pub fn namespace(&self) -> &str {
        Some(self.text("namespace")).filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// True when something in that namespace is asked for; `*` is all.
    pub fn admits_namespace(&self, namespace: &str) -> bool {
        let asked = self.namespace();
        asked == "*" || asked == namespace
    }

    /// Answers are to be indented.
    pub fn is_pretty(&self) -> bool {
        self.get("pretty").is_some_and(|value| value != "0")
    }
}

/// What every read may carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Wait until the index is past this one; 0 does not wait.
    pub index: u64,
    /// At most this long.
    pub wait: Duration,
    /// Any server may answer from what it has.
    pub stale: bool,
    /// Items per page; 0 is all.
    pub per_page: usize,
    /// The first item of the page; empty for the first page.
    pub next_token: String,
    /// Newest first.
    pub reverse: bool,
    /// Only ids that begin so.
    pub prefix: String,
}

impl ReadOptions {
    /// Reads what every read may carry.
    ///
    /// # Errors
    /// One of them can't be read.
    pub fn of(query: &Query) -> Result<Self, Problem> {
        let invalid = |text: &str| Problem::Invalid(text.to_owned());
        let wait = match query.text("wait") {
            "" => WAIT_MAX,
            text => parse_duration(text).ok_or_else(|| invalid("Invalid wait time"))?,
        };
        let wait = if wait.is_zero() { WAIT_MAX } else { wait.min(WAIT_MAX) };
        let index = match query.text("index") {
            "" => 0,
            text => text.parse().map_err(|_| invalid("Invalid index"))?,
        };
        let stale = match query.get("stale") {
            None => false,
            Some("") => true,
            Some(_) => query
                .flag("stale", false)
                .map_err(|_| invalid("Expect `true` or `false` for `stale` query string parameter"))?,
        };
        let per_page = match query.text("per_page") {
            "" => 0,
            text => text.parse::<u32>().map_err(|_| invalid("Expect a number for `per_page` query string parameter"))?
                as usize,
        };
        Ok(Self {
            index,
            wait,
            stale,
            per_page,
            next_token: query.text("next_token").to_owned(),
            reverse: query.text("reverse") == "true",
            prefix: query.text("prefix").to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(raw: &str) -> Result<ReadOptions, Problem> {
        ReadOptions::of(&Query::parse(Some(raw)))
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("a=1&b=x%2Fy+z&c&a=2&bad=%zz"));
        assert_eq!(query.text("a"), "1");
        assert_eq!(query.text("b"), "x/y z");
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get("d"), None);
        assert_eq!(query.get("bad"), None);
    }

    #[test]
    fn what_every_read_may_carry() {
        let plain = options("").unwrap();
        assert_eq!((plain.index, plain.wait, plain.stale, plain.per_page), (0, WAIT_MAX, false, 0));
        let full = options("index=7&wait=250ms&stale&per_page=2&next_token=a.b&reverse=true&prefix=x").unwrap();
        assert_eq!((full.index, full.wait, full.stale), (7, Duration::from_millis(250), true));
        assert_eq!((full.per_page, full.next_token.as_str(), full.reverse), (2, "a.b", true));
        assert_eq!(options("wait=1h").unwrap().wait, WAIT_MAX);
        assert!(!options("stale=false&reverse=1").unwrap().reverse);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let check = |raw: &str, text: &str| assert_eq!(options(raw), Err(Problem::Invalid(text.to_owned())), "{raw}");
        check("wait=5", "Invalid wait time");
        check("wait=-5s", "Invalid wait time");
        check("index=zz", "Invalid index");
        check("index=-1", "Invalid index");
        check("stale=zz", "Expect `true` or `false` for `stale` query string parameter");
        check("per_page=zz", "Expect a number for `per_page` query string parameter");
    }

    #[test]
    fn flags_of_jobs_fail_with_their_name() {
        let query = Query::parse(Some("diffs=zz"));
        let text =
            r#"Failed to parse value of "diffs" (zz) as a bool: strconv.ParseBool: parsing "zz": invalid syntax"#;
        assert_eq!(query.job_flag("diffs", false), Err(Problem::Failed(text.to_owned())));
        assert_eq!(query.job_flag("purge", true), Ok(true));
        assert_eq!(Query::parse(Some("purge=T")).job_flag("purge", false), Ok(true));
    }

    #[test]
    fn namespaces() {
        assert!(Query::parse(None).admits_namespace("default"));
        assert!(!Query::parse(None).admits_namespace("team"));
        assert!(Query::parse(Some("namespace=*")).admits_namespace("team"));
    }
}
