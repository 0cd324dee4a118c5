//! `drover-edge`: the client alone, in a binary of its own. Takes the arguments and files of `drover agent`.

mod arguments;

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use arguments::Command;
use drover_agent_config::{Settings, Sources};
use drover_edge_agent::{EdgeAgent, EdgeConfig, EdgeHandle, logging, resident, telemetry};
use tokio::signal::unix::{SignalKind, signal};

/// Threads for calls that block; starts of tasks wait for one.
const BLOCKING_THREADS_MAX: usize = 8;
/// The stack of such a thread, in bytes.
const STACK_BYTES: usize = 512 << 10;
/// After this time the memory that only the start has used is given back.
const STARTED_AFTER: Duration = Duration::from_secs(10);
/// The HTTP port that is not used.
const HTTP_PORT: u16 = 4646;

fn main() -> ExitCode {
    // Before anything else: this process may be there to become the supervisor.
    drover_edge_agent::main_if_supervisor();
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match arguments::parse(&words) {
        Ok(Command::Version) => {
            println!("drover-edge v{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            println!("{}", arguments::HELP);
            ExitCode::SUCCESS
        }
        Ok(Command::Agent(sources)) => match sources.load() {
            Ok(settings) => run(&settings, &sources),
            Err(complaints) => {
                for complaint in complaints {
                    eprintln!("==> {}", complaint.text);
                }
                ExitCode::FAILURE
            }
        },
        Err(text) => {
            eprintln!("{text}\n\n{}", arguments::HELP);
            ExitCode::FAILURE
        }
    }
}

fn run(settings: &Settings, sources: &Sources) -> ExitCode {
    for warning in &settings.warnings {
        println!("==> WARNING: {warning}");
    }
    if !settings.unacted.is_empty() {
        println!("==> WARNING: known to drover, but not acted on yet: {}", settings.unacted.join(", "));
    }
    if settings.server.enabled {
        eprintln!("==> drover-edge is the client alone: a server runs in `drover agent`");
        return ExitCode::FAILURE;
    }
    if settings.ports.http != HTTP_PORT {
        println!("==> ports.http is not used: drover-edge answers no HTTP");
    }
    println!("==> Starting drover-edge agent...");
    logging::start(settings.log_level, settings.log_json);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => {
            let ran = runtime.block_on(run_until_told(settings, sources));
            runtime.shutdown_background();
            ran
        }
        Err(error) => Err(error.into()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::open();
            eprintln!("==> Error running agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_until_told(settings: &Settings, sources: &Sources) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut config = EdgeConfig::from_settings(settings)?;
    if telemetry::is_sent(&settings.telemetry) {
        telemetry::start(settings)?;
    } else {
        // Nobody could ask this process for them.
        config.figures = None;
    }
    let mut edge = EdgeAgent::start(config).await?;
    print_started(settings, &edge);
    logging::open();
    let mut started = pin!(tokio::time::sleep(STARTED_AFTER));
    let mut is_starting = true;
    let failure = loop {
        tokio::select! {
            () = &mut started, if is_starting => {
                is_starting = false;
                resident::give_back();
            }
            _ = interrupt.recv() => {
                println!("==> Caught signal: interrupt");
                break None;
            }
            _ = terminate.recv() => {
                println!("==> Caught signal: terminated");
                break None;
            }
            _ = hangup.recv() => {
                println!("==> Reloading configuration...");
                reload(sources, &edge).await;
            }
            reason = edge.failed() => break Some(reason),
        }
    };
    edge.stop().await;
    tracing::info!("shutdown complete");
    match failure {
        Some(reason) => Err(anyhow::anyhow!(reason)),
        None => Ok(()),
    }
}

/// Log level and certificates change; the rest waits for a restart.
async fn reload(sources: &Sources, edge: &EdgeHandle) {
    match sources.load() {
        Ok(fresh) => logging::set_level(fresh.log_level),
        Err(complaints) => {
            for complaint in complaints {
                tracing::error!(complaint = complaint.text, "configuration not reloaded");
            }
        }
    }
    edge.reload().await;
}

fn print_started(settings: &Settings, edge: &EdgeHandle) {
    println!("==> drover-edge agent configuration:\n");
    let region = format!("{} (DC: {})", settings.region, settings.datacenter);
    let rows = [
        ("Client", "true".to_owned()),
        ("Log Level", settings.log_level.as_str().to_owned()),
        ("Node ID", edge.node_id().to_string()),
        ("Region", region),
        ("Server", "false".to_owned()),
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    for (name, value) in rows {
        println!("{name:>22}: {value}");
    }
    println!("\n==> drover-edge agent started! Log data will stream in below:\n");
}
