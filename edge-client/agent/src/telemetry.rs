//! The figures of an agent, for both binaries: how they are kept, the turn of their intervals, what the process itself
//! uses, and sending them to statsd and its kin.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use drover_agent_config::Settings;
use drover_agent_config::telemetry::TelemetrySettings;
use drover_metrics::statsd::Dialect;
use drover_metrics::{Labels, Update};

/// Records that wait to be sent; what comes when it is full is dropped and counted.
const UNSENT_MAX: usize = 8192;
/// A packet is sent when it would grow beyond this, in bytes: it must fit what an Ethernet takes.
const PACKET_BYTES_MAX: usize = 1400;
/// A packet is sent after this time even if it is small.
const PACKET_WAIT: Duration = Duration::from_millis(100);
/// How long a connection may take to come about, and a write to be taken.
const TCP_WAIT_MAX: Duration = Duration::from_secs(1);
/// The rest after a connection that did not come about.
const RECONNECT_WAIT: Duration = Duration::from_secs(5);

/// Sets how this process keeps figures and begins to send them; in a runtime. The rules were checked with the settings.
///
/// # Errors
/// A rule is none.
pub fn start(settings: &Settings) -> Result<()> {
    let telemetry = &settings.telemetry;
    let host = if telemetry.use_node_name { settings.name.clone() } else { host_name() };
    let base = if telemetry.disable_hostname { Labels::default() } else { Labels::new(&[("host", &host)]) };
    drover_metrics::configure(drover_metrics::Settings {
        interval: telemetry.in_memory_collection_interval,
        gauge_life: (telemetry.in_memory_collection_interval * 2).max(telemetry.collection_interval * 3),
        base_labels: base,
        filter: telemetry.filter().context("telemetry")?,
        keeps_quantiles: telemetry.prometheus_metrics,
        ..drover_metrics::Settings::default()
    });
    send(telemetry);
    tokio::spawn(turn(telemetry.in_memory_collection_interval, telemetry.collection_interval));
    Ok(())
}

/// The figures are read by somebody: sent on, or asked of an agent that answers HTTP.
pub fn is_sent(telemetry: &TelemetrySettings) -> bool {
    telemetry.statsd_address.is_some() || telemetry.statsite_address.is_some() || telemetry.datadog_address.is_some()
}

/// Reads the process and ends intervals, for as long as it runs.
async fn turn(interval: Duration, reading: Duration) {
    let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut next_roll = after(since_1970(), interval);
    loop {
        process_figures();
        let now = since_1970();
        // The second: the clock was set back.
        if now >= next_roll || next_roll - now > interval {
            drover_metrics::process().roll(now);
            next_roll = after(now, interval);
        }
        tokio::time::sleep(reading.min(next_roll.saturating_sub(since_1970()))).await;
    }
}

/// The next whole multiple of the interval: the intervals of all agents begin together.
fn after(now: Duration, interval: Duration) -> Duration {
    let step = interval.as_nanos().max(1);
    let nanos = (now.as_nanos() / step + 1) * step;
    Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32)
}

fn process_figures() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let gauge = |name, value: Option<f64>| value.into_iter().for_each(|value| drover_metrics::gauge(name, &[], value));
    gauge("nomad.runtime.alloc_bytes", number("RssAnon").map(|kib| kib * 1024.0));
    gauge("nomad.runtime.sys_bytes", number("VmRSS").map(|kib| kib * 1024.0));
    gauge("nomad.runtime.num_threads", number("Threads"));
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    gauge("nomad.runtime.num_goroutines", Some(tasks as f64));
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Sends every record to where the settings say. An address that is none is said, and the agent runs.
fn send(telemetry: &TelemetrySettings) {
    let places = [
        ("statsd_address", &telemetry.statsd_address, Dialect::Plain, false),
        ("statsite_address", &telemetry.statsite_address, Dialect::Plain, true),
        ("datadog_address", &telemetry.datadog_address, Dialect::Datadog(telemetry.datadog_tags.clone()), false),
    ];
    let mut sinks = Vec::new();
    for (key, address, dialect, is_stream) in places {
        let Some(address) = address else { continue };
        match resolve(address).and_then(|address| Sink::new(address, dialect, is_stream)) {
            Ok(sink) => sinks.push(sink),
            Err(error) => tracing::error!(error = %format!("{error:#}"), address, "telemetry: {key} is not used"),
        }
    }
    if sinks.is_empty() {
        return;
    }
    let (sender, updates) = sync_channel(UNSENT_MAX);
    let thread = std::thread::Builder::new().name("telemetry".to_owned()).stack_size(256 << 10);
    match thread.spawn(move || send_all(&updates, &mut sinks)) {
        Ok(_) => drover_metrics::process().follow(sender),
        Err(error) => tracing::error!(%error, "telemetry: nothing is sent"),
    }
}

fn resolve(address: &str) -> Result<SocketAddr> {
    address.to_socket_addrs()?.next().context("the name has no address")
}

fn send_all(updates: &Receiver<Update>, sinks: &mut [Sink]) {
    let mut due: Option<Instant> = None;
    loop {
        let received = match due {
            None => updates.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => updates.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match received {
            Ok(update) => {
                sinks.iter_mut().for_each(|sink| sink.add(&update));
                due = due.or_else(|| Some(Instant::now() + PACKET_WAIT));
            }
            Err(RecvTimeoutError::Timeout) => {
                sinks.iter_mut().for_each(Sink::flush);
                due = None;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One place that figures are sent to.
struct Sink {
    dialect: Dialect,
    packet: String,
    way: Way,
}

enum Way {
    Packets(UdpSocket),
    Stream { address: SocketAddr, stream: Option<TcpStream>, not_before: Option<Instant> },
}

impl Sink {
    fn new(address: SocketAddr, dialect: Dialect, is_stream: bool) -> Result<Sink> {
        let way = if is_stream {
            Way::Stream { address, stream: None, not_before: None }
        } else {
            let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            Way::Packets(socket)
        };
        Ok(Sink { dialect, packet: String::new(), way })
    }

    fn add(&mut self, update: &Update) {
        let line = self.dialect.line(update);
        if self.packet.len() + line.len() > PACKET_BYTES_MAX {
            self.flush();
        }
        self.packet.push_str(&line);
    }

    /// Sends what there is. What can't be sent is lost: figures are not worth more than the memory they would take.
    fn flush(&mut self) {
        let packet = std::mem::take(&mut self.packet);
        if packet.is_empty() {
            return;
        }
        match &mut self.way {
            Way::Packets(socket) => drop(socket.send(packet.as_bytes())),
            Way::Stream { address, stream, not_before } => {
                if stream.is_none() && not_before.is_none_or(|time| Instant::now() >= time) {
                    *stream = connect(*address);
                    *not_before = Some(Instant::now() + RECONNECT_WAIT);
                }
                if let Some(open) = stream
                    && open.write_all(packet.as_bytes()).is_err()
                {
                    *stream = None;
                }
            }
        }
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TCP_WAIT_MAX).ok()?;
    stream.set_write_timeout(Some(TCP_WAIT_MAX)).ok()?;
    Some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drover_metrics::Kind;
    use std::io::Read;
    use std::net::TcpListener;

    fn update(number: usize) -> Update {
        Update { kind: Kind::Counter, name: "nomad.test", labels: Labels::default(), value: number as f64 }
    }

    #[test]
    fn records_go_out_in_packets_that_fit() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut sinks = [Sink::new(listener.local_addr().unwrap(), Dialect::Plain, false).unwrap()];
        let (sender, updates) = sync_channel(1000);
        (0..300).for_each(|number| sender.send(update(number)).unwrap());
        let sending = std::thread::spawn(move || send_all(&updates, &mut sinks));
        let (mut seen, mut packets, mut buffer) = (String::new(), 0, [0; 65_536]);
        while !seen.contains("nomad.test:299|c\n") {
            let length = listener.recv(&mut buffer).unwrap();
            assert!(length <= PACKET_BYTES_MAX);
            seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            packets += 1;
        }
        assert!(packets < 10 && seen.lines().count() == 300, "{packets}");
        drop(sender);
        sending.join().unwrap();
    }

    #[test]
    fn a_stream_gets_the_same_lines() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sink = Sink::new(listener.local_addr().unwrap(), Dialect::Plain, true).unwrap();
        sink.add(&update(7));
        sink.flush();
        drop(sink);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "nomad.test:7|c\n");
    }

    #[test]
    fn intervals_begin_together() {
        let at = Duration::from_secs;
        assert_eq!(after(at(1_700_000_003), at(10)), at(1_700_000_010));
        assert_eq!(after(at(1_700_000_010), at(10)), at(1_700_000_020));
    }
}
