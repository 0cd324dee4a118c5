//! The agent's log: lines for people, or JSON. Held back until the banner is out.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use drover_agent_config::settings::LogLevel;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// The most bytes held back before the banner is out.
const HELD_BYTES_MAX: usize = 1 << 20;

/// The running log.
pub struct Handle {
    level: reload::Handle<LevelFilter, Registry>,
    output: Arc<Output>,
}

impl Handle {
    /// Writes what was held back, and everything from now on at once.
    pub fn open(&self) {
        self.output.open();
    }

    /// Logs this much from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails only when the log itself is gone.
        let _ = self.level.modify(|current| *current = filter(level));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.output.open();
    }
}

/// Starts the log of this process.
pub fn start(level: LogLevel, json: bool) -> Handle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let output = Arc::new(Output::default());
    let lines = Lines { output: output.clone(), json };
    // A second start in one process keeps the first log.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines));
    Handle { level: handle, output }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Off => LevelFilter::OFF,
    }
}

/// Standard output, with what is held back.
struct Output {
    held: Mutex<Option<Vec<u8>>>,
}

impl Default for Output {
    fn default() -> Self {
        Self { held: Mutex::new(Some(Vec::new())) }
    }
}

impl Output {
    fn open(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.write_out(&held.unwrap_or_default());
    }

    fn write(&self, line: &[u8]) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) if held.len() + line.len() <= HELD_BYTES_MAX => held.extend_from_slice(line),
            Some(_) => {}
            None => {
                drop(held);
                self.write_out(line);
            }
        }
    }

    fn write_out(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: the agent goes on.
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }
}

struct Lines {
    output: Arc<Output>,
    json: bool,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let source = source(metadata.target());
        // Libraries speak of every packet and vote; operators want drover's own words, and a library's warnings.
        if source.is_none() && *metadata.level() > Level::WARN {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let time = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
        let source = source.unwrap_or_else(|| metadata.target().replace("::", "."));
        let line = if self.json {
            fields.others.insert("@level".to_owned(), level_word(metadata.level()).to_lowercase().into());
            fields.others.insert("@message".to_owned(), fields.message.into());
            fields.others.insert("@module".to_owned(), source.into());
            fields.others.insert("@timestamp".to_owned(), time.into());
            format!("{}\n", Value::Object(fields.others))
        } else {
            let mut line =
                format!("    {time} {:<7} {source}: {}", format!("[{}]", level_word(metadata.level())), fields.message);
            for (place, (name, value)) in fields.others.iter().enumerate() {
                line.push_str(if place == 0 { ": " } else { " " });
                line.push_str(name);
                line.push('=');
                match value {
                    Value::String(text) if text.contains([' ', '"', '\n']) => line.push_str(&format!("{text:?}")),
                    Value::String(text) => line.push_str(text),
                    other => line.push_str(&other.to_string()),
                }
            }
            line.push('\n');
            line
        };
        self.output.write(line.as_bytes());
    }
}

fn level_word(level: &Level) -> &'static str {
    match *level {
        Level::TRACE => "TRACE",
        Level::DEBUG => "DEBUG",
        Level::INFO => "INFO",
        Level::WARN => "WARN",
        Level::ERROR => "ERROR",
    }
}

/// `server.leader_loop` for our own `drover_server::leader_loop`; none for a library.
fn source(target: &str) -> Option<String> {
    let own = target
        .strip_prefix("drover_")
        .or_else(|| (target == "drover" || target.starts_with("drover::")).then_some(target))?;
    Some(own.replace("::", "."))
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
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
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
