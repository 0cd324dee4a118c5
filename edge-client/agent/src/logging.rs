//! The log of an agent, for both binaries: one line per event on standard output, for people or as JSON. What is said
//! before the banner is out is held back until [`open`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drover_agent_config::settings::LogLevel;
use drover_model::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, callsite};

/// How much is logged, as a number that rises with what is left out.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The most bytes held back before the banner is out.
const HELD_BYTES_MAX: usize = 1 << 20;

/// A library says one thing at most once in this time: it warns of each packet to a server that is away.
const LIBRARY_REPEAT: Duration = Duration::from_secs(10);

/// Lines held back; none once the log is open.
static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(Some(Vec::new()));

/// Writes what was held back, and everything from now on at once.
pub fn open() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    write_out(&held.unwrap_or_default());
}

fn write(line: &[u8]) {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match held.as_mut() {
        Some(held) if held.len() + line.len() <= HELD_BYTES_MAX => held.extend_from_slice(line),
        Some(_) => {}
        None => {
            drop(held);
            write_out(line);
        }
    }
}

fn write_out(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the agent goes on.
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Starts the log of this process.
pub fn start(level: LogLevel, json: bool) {
    set_level(level);
    // A second start in one process keeps the first log.
    let _ = tracing::subscriber::set_global_default(Lines { json, repeats: Mutex::default() });
}

/// Logs this much from now on.
pub fn set_level(level: LogLevel) {
    set(&LEVEL, level);
}

/// Each place in the source that says something remembers whether anybody wants it: it must look again when that changes.
fn set(what: &AtomicU8, level: LogLevel) {
    // One at a time: a slower one would leave what was wanted before.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if what.swap(level as u8, Ordering::Relaxed) != level as u8 {
        callsite::rebuild_interest_cache();
    }
}

/// The most that follow the log at a time.
const FOLLOWERS_MAX: usize = 8;

/// The most lines that wait for one that follows.
const FOLLOWED_LINES_MAX: usize = 512;

/// Who follows the log.
static FOLLOWERS: Mutex<Vec<Follower>> = Mutex::new(Vec::new());

/// The most that any of them wants, as [`LEVEL`] is.
static FOLLOWED: AtomicU8 = AtomicU8::new(LogLevel::Off as u8);

struct Follower {
    level: LogLevel,
    json: bool,
    lines: mpsc::Sender<String>,
    /// How many lines did not fit since the last one that did.
    left_out: u64,
}

/// The lines of this log from now on, also those that are not written for being too little; none where too many follow it. Lines that
/// are not taken soon enough are left out, and counted. It ends when the receiver goes.
pub fn follow(level: LogLevel, json: bool) -> Option<mpsc::Receiver<String>> {
    let (lines, followed) = mpsc::channel(FOLLOWED_LINES_MAX);
    let mut followers = FOLLOWERS.lock().unwrap_or_else(PoisonError::into_inner);
    followers.retain(|follower| !follower.lines.is_closed());
    if followers.len() >= FOLLOWERS_MAX {
        return None;
    }
    followers.push(Follower { level, json, lines, left_out: 0 });
    note_followed(&followers);
    Some(followed)
}

fn note_followed(followers: &[Follower]) {
    let most = followers.iter().map(|follower| follower.level).min().unwrap_or(LogLevel::Off);
    set(&FOLLOWED, most);
}

/// Hands a line to who wants it.
fn hand_on(followers: &mut Vec<Follower>, level: LogLevel, line: &dyn Fn(bool) -> String) {
    let before = followers.len();
    followers.retain_mut(|follower| {
        if follower.lines.is_closed() {
            return false;
        }
        if level >= follower.level {
            let text = line(follower.json);
            let text = match (follower.left_out, follower.json) {
                (0, _) => text,
                (count, false) => format!("[WARN] {count} lines were left out here\n{text}"),
                (count, true) => text.replacen('{', &format!("{{\"left_out\":{count},"), 1),
            };
            match follower.lines.try_send(text) {
                Ok(()) => follower.left_out = 0,
                Err(_) => follower.left_out += 1,
            }
        }
        true
    });
    if followers.len() != before {
        note_followed(followers);
    }
}

fn word(level: &Level) -> (&'static str, LogLevel) {
    match *level {
        Level::TRACE => ("TRACE", LogLevel::Trace),
        Level::DEBUG => ("DEBUG", LogLevel::Debug),
        Level::INFO => ("INFO", LogLevel::Info),
        Level::WARN => ("WARN", LogLevel::Warn),
        Level::ERROR => ("ERROR", LogLevel::Error),
    }
}

struct Lines {
    json: bool,
    /// What libraries have said; as long as the list of places in their source that warn.
    repeats: Mutex<BTreeMap<Place, Repeat>>,
}

/// A place in the source of a library: its module and line.
type Place = (&'static str, u32);

struct Repeat {
    written: Instant,
    left_out: u64,
}

/// How many lines from this place were left out since the last one that was written; none when this one is left out too.
fn repeated(repeats: &mut BTreeMap<Place, Repeat>, place: Place, now: Instant) -> Option<u64> {
    match repeats.get_mut(&place) {
        Some(known) if now.duration_since(known.written) < LIBRARY_REPEAT => {
            known.left_out += 1;
            None
        }
        known => {
            let left_out = known.map_or(0, |known| known.left_out);
            repeats.insert(place, Repeat { written: now, left_out: 0 });
            Some(left_out)
        }
    }
}

/// What is wanted of the log at most, by who writes it and who follows it.
fn most_wanted() -> u8 {
    LEVEL.load(Ordering::Relaxed).min(FOLLOWED.load(Ordering::Relaxed))
}

/// The name of a place in drover's own source; none for a library's.
fn own(target: &str) -> Option<&str> {
    target.strip_prefix("drover_").or_else(|| target.strip_prefix("drover::"))
}

/// Libraries speak of every packet and vote, and follow each by spans: operators want drover's own words, and a library's
/// warnings.
impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Answered once for each place: what nobody wants costs one look at a number from then on.
        // Our own are asked for again each time that their level is let through: they may meet us while that changes.
        match (metadata.is_event(), own(metadata.target()).is_some()) {
            (true, true) => Interest::sometimes(),
            (true, false) if self.enabled(metadata) => Interest::always(),
            _ => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let most = most_wanted();
        let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
        let first = levels.into_iter().find(|level| word(level).1 as u8 >= most);
        Some(first.map_or(LevelFilter::OFF, LevelFilter::from_level))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let (_, level) = word(metadata.level());
        let is_told = level >= LogLevel::Warn || own(metadata.target()).is_some();
        metadata.is_event() && is_told && level as u8 >= most_wanted()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // None is ever enabled.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let (word, level) = word(event.metadata().level());
        let target = event.metadata().target();
        let own = own(target);
        let is_written = (level as u8) >= LEVEL.load(Ordering::Relaxed);
        let is_followed = (level as u8) >= FOLLOWED.load(Ordering::Relaxed);
        if !(is_written || is_followed) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if own.is_none() {
            let place = (event.metadata().target(), event.metadata().line().unwrap_or(0));
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            match repeated(&mut repeats, place, Instant::now()) {
                None => return,
                Some(0) => {}
                Some(left_out) => drop(fields.others.insert("left_out".to_owned(), left_out.into())),
            }
        }
        let source = own.unwrap_or(target).replace("::", ".");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since.as_millis()).unwrap_or(0);
        let time = Timestamp(millis.saturating_mul(1_000_000)).to_rfc3339().unwrap_or_default();
        let line = |json: bool| match json {
            true => line_for_machines(&time, word, &source, &fields),
            false => line_for_people(&time, word, &source, &fields),
        };
        if is_written {
            write(line(self.json).as_bytes());
        }
        if is_followed {
            hand_on(&mut FOLLOWERS.lock().unwrap_or_else(PoisonError::into_inner), level, &line);
        }
    }
}

fn line_for_machines(time: &str, word: &str, source: &str, fields: &Fields) -> String {
    let mut all = fields.others.clone();
    let heading =
        [("@level", &*word.to_lowercase()), ("@message", &fields.message), ("@module", source), ("@timestamp", time)];
    all.extend(heading.map(|(name, text)| (name.to_owned(), Value::from(text))));
    format!("{}\n", Value::Object(all))
}

fn line_for_people(time: &str, word: &str, source: &str, fields: &Fields) -> String {
    let mut line = format!("    {time} {:<7} {source}: {}", format!("[{word}]"), fields.message);
    for (place, (name, value)) in fields.others.iter().enumerate() {
        let separator = if place == 0 { ": " } else { " " };
        let text = match value {
            Value::String(text) if text.contains([' ', '"', '\n']) => format!("{text:?}"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Writing to a text can't fail.
        let _ = write!(line, "{separator}{name}={text}");
    }
    line.push('\n');
    line
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => drop(self.others.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_gets_what_is_wanted_and_is_told_what_was_left_out() {
        let (lines, mut followed) = mpsc::channel(2);
        let (other, gone) = mpsc::channel(2);
        drop(gone);
        let (machine, mut of_machine) = mpsc::channel(2);
        let follower = |level, json, lines| Follower { level, json, lines, left_out: 0 };
        let mut followers = vec![
            follower(LogLevel::Info, false, lines),
            follower(LogLevel::Trace, true, other),
            follower(LogLevel::Info, true, machine),
        ];
        let line =
            |json, text: &str| if json { format!("{{\"text\":{text:?}}}\n") } else { format!("{json} {text}\n") };
        let mut say = |level, text: &str| hand_on(&mut followers, level, &|json| line(json, text));
        say(LogLevel::Debug, "too little");
        for number in 0..4 {
            say(LogLevel::Warn, &format!("line {number}"));
        }
        assert_eq!(followed.try_recv().unwrap(), "false line 0\n");
        assert_eq!(of_machine.try_recv().unwrap(), "{\"text\":\"line 0\"}\n");
        say(LogLevel::Info, "line 4");
        assert_eq!(of_machine.try_recv().unwrap(), "{\"text\":\"line 1\"}\n");
        assert_eq!(of_machine.try_recv().unwrap(), "{\"left_out\":2,\"text\":\"line 4\"}\n");
        assert_eq!(followed.try_recv().unwrap(), "false line 1\n");
        assert_eq!(followed.try_recv().unwrap(), "[WARN] 2 lines were left out here\nfalse line 4\n");
        assert!(followed.try_recv().is_err());
        assert_eq!(followers.len(), 2, "one that is gone is forgotten");
    }

    #[test]
    fn a_library_says_one_thing_once_in_a_while_and_how_often_it_wanted_to() {
        let (mut repeats, start) = (BTreeMap::new(), Instant::now());
        let mut say = |line, millis| repeated(&mut repeats, ("openraft", line), start + Duration::from_millis(millis));
        assert_eq!([say(7, 0), say(7, 50), say(7, 9_999)], [Some(0), None, None]);
        assert_eq!(say(8, 60), Some(0));
        assert_eq!([say(7, 10_000), say(7, 10_050), say(7, 20_000)], [Some(2), None, Some(1)]);
    }
}
