//! Submit to running: one job after the other on an idle agent, per driver; for a virtual machine its hello as well.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use drover_api_client::Client;
use drover_api_client::logs::LogOrder;
use serde_json::{Value, json};

use crate::figure::Figure;
use crate::guest::{Guest, HELLO};
use crate::image::Registry;
use crate::product::{Product, job, lacks_driver, only_alloc, purge, register, stop_and_rest, wait_for_allocs};

/// Virtual machines are started this often at the most: each boots for a while.
const GUESTS_MAX: usize = 10;
/// The longest wait for a guest's hello.
const HELLO_MAX: Duration = Duration::from_secs(60);

/// What is started.
enum Started {
    /// The program sleeps.
    Sleep(&'static str),
    /// The image's program sleeps.
    Container,
    /// A machine, with a kernel or without.
    Machine { with_kernel: bool },
}

impl Started {
    fn driver(&self) -> &'static str {
        match self {
            Started::Sleep(driver) => driver,
            Started::Container => "container",
            Started::Machine { .. } => "qemu",
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Started::Machine { with_kernel: true } => "qemu with a kernel",
            other => other.driver(),
        }
    }
}

/// What jobs need beside the agent.
struct Surroundings {
    registry: Option<Registry>,
    guest: Guest,
}

pub fn run(products: &[Product], runs: usize) -> anyhow::Result<Vec<Figure>> {
    let registry = Registry::start().inspect_err(|error| eprintln!("container is left out: {error:#}")).ok();
    let surroundings = Surroundings { registry, guest: Guest::make()? };
    let more = surroundings.registry.as_ref().map(Registry::settings).unwrap_or_default();
    let with_guest = surroundings.guest.settings();
    let start = |product: &Product| {
        // Only ours has a plugin of that name.
        let more = if product.is_drover() { more.as_str() } else { "" };
        product.start_with(&format!("{more}{with_guest}"))
    };
    let agents: Vec<_> = products.iter().map(|product| (product, start(product))).collect();
    let mut figures = Vec::new();
    let kinds = [
        Started::Sleep("raw_exec"),
        Started::Sleep("exec"),
        Started::Container,
        Started::Machine { with_kernel: false },
        Started::Machine { with_kernel: true },
    ];
    for started in kinds {
        let runs = match started {
            Started::Container if surroundings.registry.is_none() => continue,
            Started::Machine { with_kernel: true } if !surroundings.guest.has_kernel() => continue,
            Started::Machine { .. } => runs.min(GUESTS_MAX),
            _ => runs,
        };
        let mut samples = vec![(Vec::new(), Vec::new()); agents.len()];
        let mut left_out = Vec::new();
        for (product, agent) in &agents {
            let lack = lacks_driver(&agent.client(), started.driver())?;
            // The first start of a kind gets what the later ones have: an image, warm files.
            let lack = match lack {
                None => once(&agent.client(), &started, &surroundings, 0, &mut Default::default())
                    .err()
                    .map(|error| format!("{error:#}")),
                lack => lack,
            };
            if let Some(lack) = &lack {
                eprintln!("{} of {} is left out: {lack}", started.word(), product.name);
                // Whatever came of it must not disturb the others.
                let _ = purge(&agent.client(), &id_of(&started, 0));
            }
            left_out.push(lack.is_some());
        }
        for number in 1..=runs {
            for (place, (_, agent)) in agents.iter().enumerate().filter(|(place, _)| !left_out[*place]) {
                once(&agent.client(), &started, &surroundings, number, &mut samples[place])?;
            }
        }
        for ((product, _), (running, hello)) in agents.iter().zip(samples) {
            for (what, samples) in [("running", running), ("guest hello", hello)] {
                if !samples.is_empty() {
                    let name = format!("b4 submit->{what} {}", started.word());
                    figures.push(Figure::of(name, &product.name, "ms", samples));
                }
            }
        }
    }
    Ok(figures)
}

fn id_of(started: &Started, number: usize) -> String {
    format!("b4-{}-{number}", started.word().replace(' ', "-"))
}

/// One start: milliseconds to running, and to the hello of a machine.
fn once(
    client: &Client,
    started: &Started,
    surroundings: &Surroundings,
    number: usize,
    samples: &mut (Vec<f64>, Vec<f64>),
) -> anyhow::Result<()> {
    let id = id_of(started, number);
    let mut job = job(&id, "service", started.driver(), 1, "/bin/sleep", &["300"]);
    let task = &mut job["TaskGroups"][0]["Tasks"][0];
    if !matches!(started, Started::Machine { .. }) {
        // A sleep that is its namespace's first process doesn't hear the usual signal, and ends after a wait of seconds only.
        task["KillSignal"] = Value::from("SIGKILL");
    }
    match started {
        Started::Sleep(_) => {}
        Started::Container => {
            let registry = surroundings.registry.as_ref().context("there is no registry")?;
            task["Config"] = json!({"image": registry.image()});
        }
        Started::Machine { with_kernel } => {
            task["Config"] = surroundings.guest.config(*with_kernel);
            task["Resources"]["MemoryMB"] = Value::from(256);
        }
    }
    let start = Instant::now();
    register(client, &job)?;
    wait_for_allocs(client, &id, "running", 1)?;
    samples.0.push(start.elapsed().as_secs_f64() * 1e3);
    if matches!(started, Started::Machine { .. }) {
        wait_for_hello(client, &id)?;
        samples.1.push(start.elapsed().as_secs_f64() * 1e3);
    }
    stop_and_rest(client, &id)
}

/// Follows the machine's console.
fn wait_for_hello(client: &Client, id: &str) -> anyhow::Result<()> {
    let order = LogOrder { task: "t".to_owned(), stream: "stdout", follow: true, from_end: false, offset: 0 };
    let mut console = Vec::new();
    let end = Instant::now() + HELLO_MAX;
    for frame in client.logs(&only_alloc(client, id)?, &order)? {
        console.extend(frame?.data);
        if String::from_utf8_lossy(&console).contains(HELLO) {
            return Ok(());
        }
        if Instant::now() > end {
            break;
        }
    }
    bail!("the guest says no hello: {:?}", String::from_utf8_lossy(&console))
}
