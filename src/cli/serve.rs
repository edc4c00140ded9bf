//! `pillarbox serve`: starts the box, says where it is, and stops it in order when asked to.

use crate::config::Config;
use crate::sample;
use crate::server::{self, Server};
use crate::time::now_ms;
use std::io::Write;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    start_log(&config.log)?;
    actix_web::rt::System::new().block_on(serve(config))
}

/// The log goes to standard error; standard output is for what `serve` has to say.
pub(super) fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|e| anyhow::anyhow!("--log {filter}: {e}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        // A log that cannot be written (a full disk, a closed pipe) must not end the box.
        .log_internal_errors(false)
        .try_init()
        .map_err(|e| anyhow::anyhow!("starting the log: {e}"))
}

async fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    // Before anything is started, so that no signal is missed in between.
    let stop = stop_signal()?;
    let server = server::start(config)?;
    greet(&server);
    wait(server, stop).await
}

/// Serves until a signal or a failed disk, and stops in order.
pub(super) async fn wait(
    server: Server,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        () = stop => {
            tracing::info!("stopping: finishing what is on its way");
            server.stop().await?;
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        () = server.failed() => {
            tracing::error!("the disk failed, so the box stops; check the disk and its log before starting again");
            server.abandon().await;
            std::process::exit(1);
        }
    }
}

/// Resolves when the process is asked to stop.
///
/// # Errors
/// When signals cannot be listened for.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Says where the box is. Whoever started it may have closed the pipe, which is no reason to stop.
fn greet(server: &Server) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = write_greeting(&mut out, server) {
        tracing::warn!(error = %e, "the greeting could not be printed");
    }
}

fn write_greeting(out: &mut impl Write, server: &Server) -> std::io::Result<()> {
    let url = &server.public_url;
    writeln!(
        out,
        "Pillarbox {} (SQLite {})",
        env!("CARGO_PKG_VERSION"),
        rusqlite::version()
    )?;
    writeln!(out, "  open   {url}")?;
    if url.scheme() != "http" || url.port() != Some(server.address.port()) {
        writeln!(
            out,
            "  from   http://{} (what a proxy forwards to)",
            server.address
        )?;
    }
    writeln!(out, "  file   {}", server.database.display())?;
    if let Some(link) = &server.setup_link {
        writeln!(out, "  setup  {link}")?;
        writeln!(
            out,
            "         makes the first user, workspace and API key; the link works once"
        )?;
    }
    writeln!(out)?;
    writeln!(out, "Post an event with an API key:")?;
    writeln!(out)?;
    writeln!(out, "{}", sample::curl(url, "YOUR_API_KEY", now_ms()))?;
    out.flush()
}
