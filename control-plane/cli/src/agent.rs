//! A running agent: server, client or both in this process, until a signal or a failure ends it.

mod banner;
mod control;
mod parts;

use std::path::PathBuf;

use drover_agent_config::{Settings, Sources};
use drover_edge_agent::logging;
use tokio::signal::unix::{Signal, SignalKind, signal};

use control::{Control, Reloaded, Reloads};
use parts::Parts;

/// Threads of the runtime: the log, the scheduler and the disk have threads of their own.
const WORKER_THREADS: usize = 2;

/// Runs the agent; gives the process's exit status.
pub fn run(settings: Settings, sources: &Sources) -> i32 {
    banner::print_start(&settings);
    logging::start(settings.log_level, settings.log_json);
    end_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .thread_name("drover")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("==> Error starting agent: {error}");
            return 1;
        }
    };
    let status = runtime.block_on(run_until_told(settings, sources));
    // A start that failed has said nothing of its log yet.
    logging::open();
    // What still runs on the runtime's threads has nothing to finish any more.
    runtime.shutdown_background();
    status
}

/// A panic of one task would leave a process that is half there: it ends as a whole, and says where.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        print(info);
        std::process::abort();
    }));
}

async fn run_until_told(settings: Settings, sources: &Sources) -> i32 {
    let data_dir = match DataDir::of(&settings) {
        Ok(data_dir) => data_dir,
        Err(error) => {
            eprintln!("==> Error starting agent: {error:#}");
            return 1;
        }
    };
    let (control, mut reloads) = Control::new(&settings);
    let mut parts = match Parts::start(&settings, data_dir.path.clone(), control).await {
        Ok(parts) => parts,
        Err(error) => {
            eprintln!("==> Error starting agent: {error:#}");
            data_dir.remove();
            return 1;
        }
    };
    banner::print_started(&settings, &parts.addresses());
    logging::open();
    banner::log_facts(&settings);
    let status = match wait(&mut parts, sources, &mut reloads).await {
        Ok(signal) => {
            let leaves = match signal {
                Told::Interrupt => settings.leave_on_interrupt,
                Told::Terminate => settings.leave_on_terminate,
            };
            if leaves {
                parts.leave().await;
            }
            0
        }
        Err(reason) => {
            tracing::error!(%reason, "agent can't go on");
            eprintln!("==> Agent failed: {reason}");
            1
        }
    };
    parts.stop().await;
    tracing::info!("shutdown complete");
    data_dir.remove();
    status
}

/// The signal that ends the agent.
enum Told {
    Interrupt,
    Terminate,
}

/// Waits for a signal that ends the agent; an error when a part of it fails.
async fn wait(parts: &mut Parts, sources: &Sources, reloads: &mut Reloads) -> Result<Told, String> {
    let listen = |kind| signal(kind).map_err(|e| format!("listen for signals: {e}"));
    let mut interrupt: Signal = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {
                println!("==> Caught signal: interrupt");
                return Ok(Told::Interrupt);
            }
            _ = terminate.recv() => {
                println!("==> Caught signal: terminated");
                return Ok(Told::Terminate);
            }
            _ = hangup.recv() => {
                println!("==> Reloading configuration...");
                // What was wrong is in the log.
                let _ = reload(parts, sources).await;
            }
            Some(tell) = reloads.recv() => {
                // One that is gone wants no answer.
                let _ = tell.send(reload(parts, sources).await);
            }
            reason = parts.failed() => return Err(reason),
        }
    }
}

/// Reads the files again; log level and certificates change, the rest waits for a restart.
async fn reload(parts: &mut Parts, sources: &Sources) -> Reloaded {
    let read = match sources.load() {
        Ok(fresh) => {
            logging::set_level(fresh.log_level);
            tracing::info!(log_level = fresh.log_level.as_str(), "configuration reloaded");
            Ok(())
        }
        Err(complaints) => {
            for complaint in &complaints {
                tracing::error!(%complaint, "configuration not reloaded");
            }
            Err(complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
    };
    parts.reload().await;
    read
}

/// Where this agent keeps its data; a development agent's is made for it and removed with it.
struct DataDir {
    path: PathBuf,
    temporary: bool,
}

impl DataDir {
    fn of(settings: &Settings) -> anyhow::Result<Self> {
        if let Some(path) = &settings.data_dir {
            return Ok(Self { path: path.clone(), temporary: false });
        }
        let path = tempfile::Builder::new().prefix("drover-dev-").tempdir()?.keep();
        Ok(Self { path, temporary: true })
    }

    fn remove(&self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("==> Left behind: {}: {error}", self.path.display());
        }
    }
}
