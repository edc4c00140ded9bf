//! The running box: puts the parts together, serves, and stops them in order. Owns the actix App
//! and what its handlers share; knows no route but the health checks.

use crate::accept::Acceptor;
use crate::admin::{self, Gate, SetupToken};
use crate::config::Config;
use crate::dedup::DedupWindow;
use crate::deliver;
use crate::deliver::AttemptRequests;
use crate::deliver::attempt::Tools;
use crate::deliver::check::UrlChecker;
use crate::deliver::connections::Connections;
use crate::deliver::replays::{self, ReplayTools, Replays};
use crate::followers;
use crate::http;
use crate::id::IdGenerator;
use crate::ingest;
use crate::project::Projector;
use crate::retain::Sweeper;
use crate::secret::Vault;
use crate::space::SpaceWatch;
use crate::store::catalog::{CatalogHandle, follow_other_processes};
use crate::store::checkpoint::Checkpointer;
use crate::store::writer::Writer;
use crate::store::{self, Files, Readers};
use crate::time::now_ms;
use crate::violations::Violations;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::sync::watch;
use url::Url;

/// The server's node number in ids; commands beside it draw another one.
const SERVER_NODE: u16 = 0;
/// A request's head must be here within this time.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle connection is closed after this time (promise 17).
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Requests on their way may take this long to end when the box stops, in seconds (promise 13).
const HTTP_DRAIN_S: u64 = 4;
/// After a failed disk the answers on their way get this long.
const ABANDON_TIMEOUT: Duration = Duration::from_millis(500);
/// What the writer, the projector and the sweeper still hold is on disk well within this time. With the drain of
/// requests and attempts it adds up to less than the 30 seconds of promise 13.
const THREAD_END_TIMEOUT: Duration = Duration::from_secs(2);
/// Replays only have to note their places.
const REPLAY_END_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that may wait to be accepted (promise 17).
const ACCEPT_BACKLOG: u32 = 4_096;

/// A box that serves.
#[derive(Debug)]
pub struct Server {
    /// Where it can be reached.
    pub public_url: Url,
    /// Where it listens.
    pub address: SocketAddr,
    /// The file.
    pub database: PathBuf,
    /// How to make the first user, while there is none.
    pub setup_link: Option<Url>,
    http: ServerHandle,
    http_task: actix_web::rt::task::JoinHandle<std::io::Result<()>>,
    catalog_task: actix_web::rt::task::JoinHandle<()>,
    writer: Writer,
    stop_notes: watch::Sender<bool>,
    notes_task: actix_web::rt::task::JoinHandle<()>,
    stop_replays: watch::Sender<bool>,
    replays_task: actix_web::rt::task::JoinHandle<()>,
    stop_dispatcher: watch::Sender<bool>,
    stop_projector: Arc<AtomicBool>,
    stop_sweeper: Sender<()>,
    dispatcher: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    projector: JoinHandle<()>,
    checkpointer: Checkpointer,
    writer_thread: JoinHandle<()>,
    _lock: File,
}

/// Starts a box; when this returns, it answers. Must be called inside an actix system.
///
/// # Errors
/// When the data folder, the file or the port is not to be had; says which and what to do.
pub fn start(config: &Config) -> anyhow::Result<Server> {
    let files = Files::prepare(&config.data_dir)?;
    let lock = files.lock_for_server()?;
    // Before anything is sent: a port that is taken must not cost anyone a delivery.
    let listener = bind(config.listen).with_context(|| {
        format!(
            "listening on {}; is another program using the port?",
            config.listen
        )
    })?;
    let connection = files
        .open_writer()
        .with_context(|| format!("opening {}", files.database().display()))?;
    let ids = Arc::new(store::id_generator(&connection, SERVER_NODE)?);
    let (catalog, version) = CatalogHandle::open(&connection, files.vault())?;
    let has_users = store::access::has_users(&connection)?;
    let readers = files.readers()?;
    let (followers, fresh, log_grew) = followers::followers(config.fresh_deliveries());
    let wake = followers.clone();
    let (writer, writer_thread) =
        Writer::start(connection, config.writer_limits(), move || wake.wake())?;
    let checkpointer = Checkpointer::start(&files, writer.clone())?;
    let window = Arc::new(DedupWindow::new(config.dedup_limits()));
    Arc::clone(&window).start_loading(readers.clone(), now_ms())?;
    let violations = Arc::new(Violations::default());
    let acceptor = Acceptor::new(
        writer.clone(),
        catalog.clone(),
        Arc::clone(&ids),
        window,
        Arc::clone(&violations),
        followers.clone(),
    );

    let (stop_dispatcher, stopping) = watch::channel(false);
    let tools = Tools {
        connections: Connections::new(config.connection_rules())?,
        writer: writer.clone(),
        readers: readers.clone(),
        catalog: catalog.clone(),
        ids: Arc::clone(&ids),
        limits: config.dispatch_limits(),
    };
    let (attempts, dispatcher) = deliver::start(tools, fresh, stopping)?;
    let (stop_replays, stopping) = watch::channel(false);
    let replays = Replays::default();
    let tools = ReplayTools {
        attempts: attempts.clone(),
        catalog: catalog.clone(),
        readers: readers.clone(),
        writer: writer.clone(),
        concurrency: config.dispatch_limits().concurrency,
    };
    let replays_task = actix_web::rt::spawn(replays::run(tools, replays.clone(), stopping));
    let stop_projector = Arc::new(AtomicBool::new(false));
    let projector = Projector::new(
        writer.clone(),
        readers.clone(),
        catalog.clone(),
        followers.clone(),
        Arc::clone(&ids),
        config.project_limits(),
    )
    .start(log_grew, Arc::clone(&stop_projector))?;
    let space = SpaceWatch::new(
        (config.data_dir.clone(), config.space_limits()),
        writer.clone(),
        readers.clone(),
        catalog.clone(),
        followers,
        Arc::clone(&ids),
    );
    let (stop_sweeper, sweeper) =
        Sweeper::new(writer.clone(), readers.clone(), config.sweep_limits())
            .watching(space)
            .start()?;

    let address = listener.local_addr()?;
    let public_url = public_url(config, address)?;
    let (setup, setup_link) = setup(has_users, &public_url)?;
    let rejects = ingest::Rejects::new(config.reject_limits());
    let (stop_notes, stopping) = watch::channel(false);
    let notes_task = {
        let (rejects, ids) = (rejects.clone(), Arc::clone(&ids));
        let (writer, to_the_end) = (writer.clone(), stopping.clone());
        actix_web::rt::spawn(async move {
            let rejects = rejects.keep(writer.clone(), ids, stopping);
            futures_util::future::join(rejects, violations.keep(writer.clone(), to_the_end)).await;
        })
    };
    let share = share(Shared {
        acceptor,
        bodies: ingest::Bodies::new(config.ingest_limits()),
        quota: web::Data::new(ingest::EventQuota::default()),
        rejects,
        catalog: catalog.clone(),
        writer: web::Data::new(writer.clone()),
        readers: web::Data::new(readers),
        ids: web::Data::from(ids),
        vault: web::Data::new(files.vault().clone()),
        attempts: web::Data::new(attempts),
        checker: web::Data::new(UrlChecker::new(config.connection_rules().connect)?),
        replays: web::Data::new(replays),
        settings: web::Data::new(settings(config, &public_url, address)),
        setup: web::Data::new(setup),
        gate: web::Data::new(Gate::default()),
        public_url: web::Data::new(ingest::PublicUrl(public_url.clone())),
    });
    let http = listen(share, listener)?;
    let handle = http.handle();
    Ok(Server {
        public_url,
        address,
        database: files.database().to_owned(),
        setup_link,
        http: handle,
        http_task: actix_web::rt::spawn(http),
        catalog_task: actix_web::rt::spawn(follow_other_processes(
            writer.clone(),
            catalog,
            version,
        )),
        writer,
        stop_notes,
        notes_task,
        stop_replays,
        replays_task,
        stop_dispatcher,
        stop_projector,
        stop_sweeper,
        dispatcher,
        sweeper,
        projector,
        checkpointer,
        writer_thread,
        _lock: lock,
    })
}

/// A listening socket whose backlog is ours: the standard library's own has room for 128.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // As the standard library does: a box that starts again gets its port back at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(ACCEPT_BACKLOG)?.into_std()
}

/// The token for the first user and the link that carries it, while there is no user.
fn setup(has_users: bool, public_url: &Url) -> anyhow::Result<(SetupToken, Option<Url>)> {
    if has_users {
        return Ok((SetupToken::none(), None));
    }
    let (setup, token) = SetupToken::new()?;
    let link = public_url.join(&format!("setup?token={token}"))?;
    Ok((setup, Some(link)))
}

fn settings(config: &Config, public_url: &Url, address: SocketAddr) -> admin::Settings {
    admin::Settings {
        public_url: public_url.clone(),
        insecure_http: config.insecure_http,
        listens_on_network: !address.ip().is_loopback(),
        trusted_proxies: config.trusted_proxy.clone(),
        allowed_targets: config.allow_target.clone(),
        requires_https: config.require_https,
        attempts: config.retry_schedule.attempts(),
        keep_deliveries_ms: config.keep().deliveries_ms,
    }
}

/// The HTTP server, an app for every worker, on a socket that is bound already.
fn listen(
    share: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
    listener: TcpListener,
) -> std::io::Result<actix_web::dev::Server> {
    let app = move || {
        App::new()
            .configure(&share)
            .configure(ingest::configure)
            .configure(admin::configure)
            .route("/healthz/live", web::get().to(live))
            .route("/healthz/ready", web::get().to(ready))
            .default_service(web::to(http::no_such_route))
    };
    Ok(HttpServer::new(app)
        .disable_signals()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(REQUEST_HEAD_TIMEOUT)
        .shutdown_timeout(HTTP_DRAIN_S)
        .listen(listener)?
        .run())
}

fn public_url(config: &Config, bound: SocketAddr) -> anyhow::Result<Url> {
    match &config.public_url {
        Some(url) => Ok(url.clone()),
        None => {
            let host = if bound.ip().is_unspecified() {
                format!("127.0.0.1:{}", bound.port())
            } else {
                bound.to_string()
            };
            Ok(Url::parse(&format!("http://{host}/"))?)
        }
    }
}

/// What handlers are given: one dependency each.
struct Shared {
    acceptor: Acceptor,
    bodies: ingest::Bodies,
    quota: web::Data<ingest::EventQuota>,
    rejects: ingest::Rejects,
    catalog: CatalogHandle,
    writer: web::Data<Writer>,
    readers: web::Data<Readers>,
    ids: web::Data<IdGenerator>,
    vault: web::Data<Vault>,
    attempts: web::Data<AttemptRequests>,
    checker: web::Data<UrlChecker>,
    replays: web::Data<Replays>,
    settings: web::Data<admin::Settings>,
    setup: web::Data<SetupToken>,
    gate: web::Data<Gate>,
    public_url: web::Data<ingest::PublicUrl>,
}

/// Gives every worker's app the same dependencies. What every event needs, each worker has in a handle of
/// its own: a request counts its references to it, and a count that all workers shared would go from core
/// to core with each. To be called on the worker's own thread, where it spawns what answers its requests.
fn share(shared: Shared) -> impl Fn(&mut web::ServiceConfig) + Clone {
    let shared = Arc::new(shared);
    move |app| {
        let (acceptor, answering) = shared.acceptor.for_thread();
        actix_web::rt::spawn(answering);
        app.app_data(web::Data::new(acceptor))
            .app_data(web::Data::new(shared.bodies.clone()))
            .app_data(shared.quota.clone())
            .app_data(web::Data::new(shared.rejects.clone()))
            .app_data(web::Data::new(shared.catalog.clone()))
            .app_data(shared.writer.clone())
            .app_data(shared.readers.clone())
            .app_data(shared.ids.clone())
            .app_data(shared.vault.clone())
            .app_data(shared.attempts.clone())
            .app_data(shared.checker.clone())
            .app_data(shared.replays.clone())
            .app_data(shared.settings.clone())
            .app_data(shared.setup.clone())
            .app_data(shared.gate.clone())
            .app_data(shared.public_url.clone());
    }
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().body("live\n")
}

/// Ready means that an event posted now would be taken.
async fn ready(writer: web::Data<Writer>) -> HttpResponse {
    if writer.is_alive() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body("the writer has stopped; see the log\n")
    }
}

impl Server {
    /// Returns when the disk has failed and the process must end (promise 4).
    pub async fn failed(&self) {
        self.writer.failed().await;
    }

    /// Lets those who are waiting hear that nothing was stored, and no longer: after a failed disk
    /// the process is gone within a second (promise 4).
    pub async fn abandon(self) {
        let _ = tokio::time::timeout(ABANDON_TIMEOUT, self.http.stop(true)).await;
    }

    /// Stops in order: no new requests, those on their way answered; attempts on their way finished
    /// or left pending; the projector, the sweeper and the writer ended (promise 13).
    ///
    /// # Errors
    /// When the HTTP server ended badly.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.http.stop(true).await;
        let served = self.http_task.await;
        self.catalog_task.abort();
        // Before the dispatcher, so that a replay notes what it hears and takes no attempt for lost.
        self.stop_replays.send_replace(true);
        let ended = tokio::time::timeout(REPLAY_END_TIMEOUT, &mut self.replays_task).await;
        if ended.is_err() {
            tracing::warn!(
                "replays did not note their places in time; they go on from the last ones"
            );
            self.replays_task.abort();
        }
        self.stop_dispatcher.send_replace(true);
        self.stop_projector.store(true, Ordering::Release);
        drop(self.stop_sweeper);
        self.stop_notes.send_replace(true);
        // What was noted last is worth no long wait.
        let _ = tokio::time::timeout(THREAD_END_TIMEOUT, self.notes_task).await;
        join("dispatcher", self.dispatcher, None).await;
        // Together, so that one that hangs costs the others none of their time.
        futures_util::future::join3(
            join("projector", self.projector, Some(THREAD_END_TIMEOUT)),
            join("sweeper", self.sweeper, Some(THREAD_END_TIMEOUT)),
            join(
                "checkpointer",
                self.checkpointer.stop(),
                Some(THREAD_END_TIMEOUT),
            ),
        )
        .await;
        drop(self.writer);
        join("writer", self.writer_thread, Some(THREAD_END_TIMEOUT)).await;
        served??;
        Ok(())
    }
}

async fn join(name: &str, thread: JoinHandle<()>, timeout: Option<Duration>) {
    let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
    let outcome = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, joined).await,
        None => Ok(joined.await),
    };
    match outcome {
        Ok(Ok(true)) => {}
        Ok(_) => tracing::error!("the {name} thread panicked"),
        Err(_) => tracing::error!("the {name} thread did not end in time"),
    }
}
