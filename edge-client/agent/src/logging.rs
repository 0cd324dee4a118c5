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
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

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
    let _ =
        tracing::subscriber::set_global_default(Registry::default().with(Lines { json, repeats: Mutex::default() }));
}

/// Logs this much from now on.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
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

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (word, level) = word(event.metadata().level());
        let target = event.metadata().target();
        let own = target.strip_prefix("drover_").or_else(|| target.strip_prefix("drover::"));
        // Libraries speak of every packet and vote; operators want drover's own words, and a library's warnings.
        if (level as u8) < LEVEL.load(Ordering::Relaxed) || (own.is_none() && level < LogLevel::Warn) {
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
        let line = if self.json {
            fields.others.insert("@level".to_owned(), word.to_lowercase().into());
            fields.others.insert("@message".to_owned(), fields.message.into());
            fields.others.insert("@module".to_owned(), source.into());
            fields.others.insert("@timestamp".to_owned(), time.into());
            format!("{}\n", Value::Object(fields.others))
        } else {
            line_for_people(&time, word, &source, &fields)
        };
        write(line.as_bytes());
    }
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
    fn a_library_says_one_thing_once_in_a_while_and_how_often_it_wanted_to() {
        let (mut repeats, start) = (BTreeMap::new(), Instant::now());
        let mut say = |line, millis| repeated(&mut repeats, ("openraft", line), start + Duration::from_millis(millis));
        assert_eq!([say(7, 0), say(7, 50), say(7, 9_999)], [Some(0), None, None]);
        assert_eq!(say(8, 60), Some(0));
        assert_eq!([say(7, 10_000), say(7, 10_050), say(7, 20_000)], [Some(2), None, Some(1)]);
    }
}
