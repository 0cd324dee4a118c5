//! Servers of one region, each a process of its own, and if wanted in a network namespace of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use drover_api_client::{Client, Config, QueryOptions};
use drover_certs::{Authority, Lifetimes};
use drover_harness::binaries::binary;
use drover_harness::dice::Dice;
use drover_harness::weather::Weather;
use drover_harness::wires::Door;
use drover_harness::{Agent, AgentConfig, Relay, Told, Wires, processes, wait_for};
use rustix::process::Signal;
use serde_json::Value;

/// The longest wait for a region to be whole again.
pub const WHOLE_MAX: Duration = Duration::from_secs(180);
/// The longest wait for one answer: a server that is stopped gives none.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Where a server is found.
#[derive(Clone)]
pub struct Place {
    /// `http://host:port`.
    address: String,
    door: Option<Door>,
    /// Grows when its process ends and when the next one starts.
    lives: Arc<AtomicU64>,
}

impl Place {
    /// Calls of its API that give up soon. A thread of its own should do it: with namespaces the thread moves into the server's.
    ///
    /// # Panics
    /// The namespace can't be entered.
    pub fn client(&self) -> Client {
        if let Some(door) = &self.door {
            door.enter();
        }
        Client::new(Config { address: self.address.clone(), timeout: ANSWER_MAX, ..Config::default() })
            .expect("the address is whole")
    }

    /// Equal before and after something: it was one process all the time.
    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::SeqCst)
    }
}

/// The servers. They are killed when this is dropped, and whatever is between them goes too.
pub struct Region {
    agents: Vec<Agent>,
    places: Vec<Place>,
    /// By which ports their leader is told apart.
    rpc_ports: Vec<u16>,
    // After the agents: they end first.
    wires: Option<Wires>,
    relay: Option<Arc<Relay>>,
}

impl Region {
    /// Servers on 127.0.0.1.
    ///
    /// # Panics
    /// They do not form a region.
    pub fn start(name: &str, count: u32) -> Self {
        Self::of(AgentConfig::region(name, count), None, None)
    }

    /// Servers on 127.0.0.1 that hear each other through a relay only. `more` goes into the configuration of each.
    ///
    /// # Panics
    /// They do not form a region.
    pub fn relayed(name: &str, count: u32, weather: Weather, dice: Dice, more: &str) -> Self {
        let mut configs = AgentConfig::region(name, count);
        // They form their region in fair weather: that is not what is to be seen.
        let relay = Relay::new(Weather::FAIR, dice);
        let doors: Vec<(u16, u16)> = configs
            .iter()
            .enumerate()
            .map(|(number, one)| (relay.door(number, one.rpc), relay.door(number, one.serf)))
            .collect();
        let files = tls_files(&authority(name));
        for (config, (rpc, serf)) in configs.iter_mut().zip(&doors) {
            config.joins = doors.iter().map(|(_, serf)| format!("127.0.0.1:{serf}")).collect();
            config.files.clone_from(&files);
            config.more.push_str(&format!(
                "advertise {{\n  rpc = \"127.0.0.1:{rpc}\"\n  serf = \"127.0.0.1:{serf}\"\n}}\n{more}"
            ));
        }
        let mut region = Self::of(configs, None, Some(relay.clone()));
        region.rpc_ports = doors.into_iter().map(|(rpc, _)| rpc).collect();
        relay.set_weather(weather);
        region
    }

    /// Servers in namespaces of their own, joined by wires that can be cut; on 127.0.0.1 without root, with a word about it.
    ///
    /// # Panics
    /// They do not form a region.
    pub fn wired(name: &str, count: u32) -> Self {
        let mut configs = AgentConfig::region(name, count);
        let wires = match Wires::new(configs.len()) {
            Ok(wires) => wires,
            Err(reason) => {
                println!("skipped: the cuts, because {reason}");
                return Self::of(configs, None, None);
            }
        };
        let joins: Vec<String> =
            configs.iter().enumerate().map(|(number, one)| format!("{}:{}", wires.address(number), one.serf)).collect();
        let files = tls_files(&authority(name));
        for (number, config) in configs.iter_mut().enumerate() {
            let address = wires.address(number);
            config.joins.clone_from(&joins);
            config.files.clone_from(&files);
            config.more.push_str(&format!("addresses {{\n  rpc = {address:?}\n  serf = {address:?}\n}}\n"));
        }
        Self::of(configs, Some(wires), None)
    }

    fn of(configs: Vec<AgentConfig>, wires: Option<Wires>, relay: Option<Arc<Relay>>) -> Self {
        let rpc_ports = configs.iter().map(|config| config.rpc).collect();
        let mut region = Self { agents: Vec::new(), places: Vec::new(), rpc_ports, wires, relay };
        for (number, mut config) in configs.into_iter().enumerate() {
            config.more.push_str("autopilot {\n  server_stabilization_time = \"1s\"\n}\n");
            let door = region.wires.as_ref().map(|wires| wires.door(number));
            let program = binary("drover");
            let agent = inside(door.as_ref(), || Agent::spawn(&program, config));
            region.places.push(Place { address: agent.address(), door, lives: Arc::default() });
            region.agents.push(agent);
        }
        region.wait_until_whole();
        region
    }

    /// How many servers there are.
    pub fn count(&self) -> usize {
        self.agents.len()
    }

    /// Where they are found.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// What is between them; none without root.
    pub fn wires(&mut self) -> Option<&mut Wires> {
        self.wires.as_mut()
    }

    /// The weather between them; none without a relay.
    pub fn relay(&self) -> Option<&Relay> {
        self.relay.as_deref()
    }

    /// From now on everything from one server to another is lost, if something is between them that can do that.
    pub fn cut(&mut self, from: usize, to: usize) {
        if let Some(relay) = &self.relay {
            relay.cut(from, to);
        } else if let Some(wires) = &mut self.wires {
            wires.cut(from, to);
        }
    }

    /// Everything arrives again.
    pub fn heal(&mut self) {
        if let Some(relay) = &self.relay {
            relay.heal();
        } else if let Some(wires) = &mut self.wires {
            wires.heal();
        }
    }

    /// What a server has said.
    pub fn log(&self, number: usize) -> String {
        self.agents[number].log()
    }

    /// Asks a server.
    ///
    /// # Errors
    /// It does not answer, or not with success.
    pub fn get(&self, number: usize, path: &str) -> Result<Value, String> {
        let place = &self.places[number];
        inside(place.door.as_ref(), || {
            let answer = place.client().read::<Value>(path, &QueryOptions::default());
            answer.map(|answer| answer.value).map_err(|error| error.to_string())
        })
    }

    /// The server that most of them take for their leader.
    pub fn leader(&self) -> Option<usize> {
        let mut voices: BTreeMap<usize, usize> = BTreeMap::new();
        for number in 0..self.count() {
            // One that is cut off may name itself for a while.
            let Ok(Value::String(address)) = self.get(number, "/v1/status/leader?stale") else { continue };
            let is_his = |port: &u16| address.ends_with(&format!(":{port}"));
            if let Some(leader) = self.rpc_ports.iter().position(is_his) {
                *voices.entry(leader).or_default() += 1;
            }
        }
        voices.into_iter().find(|(_, voices)| *voices > self.count() / 2).map(|(leader, _)| leader)
    }

    /// The same, as soon as there is one.
    ///
    /// # Panics
    /// There is none in time.
    pub fn wait_for_leader(&self) -> usize {
        wait_for("a leader", WHOLE_MAX, || self.leader().ok_or(Told(move || self.logs())))
    }

    /// Waits until every server votes and answers a read that nobody can answer alone.
    ///
    /// # Panics
    /// They do not in time.
    pub fn wait_until_whole(&self) {
        for number in 0..self.count() {
            self.wait_for_answer(number);
            let voters = |peers: Value| {
                let peers = peers["Servers"].as_array().cloned().unwrap_or_default();
                peers.iter().filter(|peer| peer["Voter"] == true).count()
            };
            wait_for("all votes", WHOLE_MAX, || {
                match self.get(number, "/v1/operator/raft/configuration").map(voters) {
                    Ok(voters) if voters == self.count() => Ok(()),
                    other => Err(Told(move || format!("{other:?}\n{}", self.logs()))),
                }
            });
        }
    }

    /// Waits until a server answers a read that nobody can answer alone.
    ///
    /// # Panics
    /// It does not in time.
    pub fn wait_for_answer(&self, number: usize) {
        wait_for(&format!("an answer of server {number}"), WHOLE_MAX, || {
            let answer = self.get(number, "/v1/jobs?prefix=nothing-has-this");
            answer.map_err(|error| Told(move || format!("{error}\n{}", self.logs())))
        });
    }

    /// Kills servers at one moment.
    pub fn kill_9(&mut self, numbers: &[usize]) {
        for number in numbers {
            processes::signal(self.agents[*number].pid(), Signal::KILL);
        }
        for number in numbers {
            self.agents[*number].kill_9();
            self.places[*number].lives.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Asks a server to end and waits until it has.
    ///
    /// # Panics
    /// It does not end in time, or not in order.
    pub fn terminate(&mut self, number: usize) {
        let code = self.agents[number].terminate(Signal::TERM);
        self.places[number].lives.fetch_add(1, Ordering::SeqCst);
        assert_eq!(code, Some(0), "{}", self.agents[number].log());
    }

    /// Starts a server that has ended.
    pub fn start_again(&mut self, number: usize) {
        self.places[number].lives.fetch_add(1, Ordering::SeqCst);
        let (agent, door) = (&mut self.agents[number], self.places[number].door.as_ref());
        inside(door, || agent.start_again());
    }

    /// A server stands still from now on.
    pub fn pause(&self, number: usize) {
        processes::signal(self.agents[number].pid(), Signal::STOP);
    }

    /// A server goes on.
    pub fn go_on(&self, number: usize) {
        processes::signal(self.agents[number].pid(), Signal::CONT);
    }

    /// The last words of all servers.
    pub fn logs(&self) -> String {
        const LINES_MAX: usize = 30;
        let mut text = String::new();
        for agent in &self.agents {
            let log = agent.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_MAX)..];
            text.push_str(&format!("--- {}\n{}\n", agent.config().name, last.join("\n")));
        }
        text
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Killed, not asked: their jobs have no tasks, and there may be very many.
        for agent in &mut self.agents {
            agent.kill_9();
        }
    }
}

/// An authority for a region, made here: servers in different networks do not find each other's files.
///
/// # Panics
/// There is no randomness.
pub fn authority(region: &str) -> Authority {
    let region = region.parse().expect("a region's name");
    Authority::create(region, SystemTime::now(), &Lifetimes::default()).expect("an authority")
}

/// The files by which servers have an authority from the start.
pub fn tls_files(authority: &Authority) -> Vec<(String, String)> {
    let texts = authority.to_pem();
    let files = [("root.pem", texts.root), ("region.pem", texts.intermediate), ("region-key.pem", texts.key)];
    files.map(|(name, text)| (format!("server/tls/{name}"), text)).to_vec()
}

/// Does something on a thread of its own inside a namespace, if there is one.
fn inside<T: Send>(door: Option<&Door>, act: impl FnOnce() -> T + Send) -> T {
    let Some(door) = door else { return act() };
    let entered = || {
        door.enter();
        act()
    };
    std::thread::scope(|scope| match scope.spawn(entered).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
