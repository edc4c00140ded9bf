//! The naive design, as the yardstick of what group commit buys: a pool of connections and a
//! transaction a request, with the same row in the same schema and the same durability.

use super::noop::has_key;
use super::traffic::Parsed;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use pillarbox::event::{Event, EventKind, Identifiers, StoredEvent, Verification};
use pillarbox::id::{IdGenerator, WorkspaceId};
use pillarbox::store::{self, Files, events};
use pillarbox::time::{now_ms, parse_utc};
use r2d2_sqlite::SqliteConnectionManager;
use std::path::Path;
use std::time::Duration;

/// Far above what the queue at the lock takes: the naive server shall be slow, not wrong.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

struct Naive {
    pool: r2d2::Pool<SqliteConnectionManager>,
    ids: IdGenerator,
    workspace: WorkspaceId,
    key: String,
}

/// Serves until killed. Its arguments are an empty folder and the key that it accepts.
///
/// # Errors
/// When it cannot open its file or listen.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [folder, key] = arguments else {
        anyhow::bail!("--naive FOLDER KEY")
    };
    let files = Files::prepare(Path::new(folder))?;
    let ids = store::id_generator(&files.open_writer()?, 0)?;
    let manager = SqliteConnectionManager::file(files.database()).with_init(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", "full")
    });
    let naive = web::Data::new(Naive {
        pool: r2d2::Pool::builder()
            .test_on_check_out(false)
            .build(manager)?,
        workspace: ids.next(now_ms()),
        ids,
        key: key.clone(),
    });
    actix_web::rt::System::new().block_on(serve(naive))
}

async fn serve(naive: web::Data<Naive>) -> anyhow::Result<()> {
    let app = move || {
        App::new()
            .app_data(naive.clone())
            .route("/sse/webhook", web::post().to(accept))
    };
    let server = HttpServer::new(app).bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("http://{address}/");
    }
    server.run().await?;
    Ok(())
}

async fn accept(request: HttpRequest, body: web::Bytes, naive: web::Data<Naive>) -> HttpResponse {
    if !has_key(&request, &naive.key) {
        return HttpResponse::Unauthorized().finish();
    }
    match web::block(move || naive.store(&body)).await {
        Ok(Ok(())) => HttpResponse::Ok()
            .content_type("application/json")
            .body(r#"{"success":true}"#),
        Ok(Err(e)) => HttpResponse::InternalServerError().body(format!("{e:#}")),
        Err(e) => HttpResponse::InternalServerError().body(e.to_string()),
    }
}

impl Naive {
    fn store(&self, body: &[u8]) -> anyhow::Result<()> {
        let parsed: Parsed<'_> = serde_json::from_slice(body)?;
        let received_at_ms = now_ms();
        let event = Event {
            workspace: self.workspace,
            source: None,
            kind: EventKind::Track,
            name: parsed.event.into(),
            identifiers: Identifiers {
                user_id: Some(parsed.user_id.into()),
                ..Identifiers::default()
            },
            properties: Some(parsed.properties.get().into()),
            traits: None,
            context: None,
            replace_traits: false,
            customer_is_account: false,
            occurred_at_ms: parse_utc(parsed.timestamp).context("the timestamp")?,
            received_at_ms,
            verification: Verification::Server,
            channel: None,
            dedup_key: None,
        };
        let mut connection = self.pool.get()?;
        let transaction = store::begin(&mut connection)?;
        let id = self.ids.next(received_at_ms);
        events::insert(&*transaction, &StoredEvent { id, event })?;
        transaction.commit()?;
        Ok(())
    }
}
