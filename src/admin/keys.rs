//! API keys: made and shown once with a command that works when pasted, listed, revoked.

use super::answer::{Page, ok, page, see_other};
use super::flash::{self, Flash, Said};
use super::forms::{Form, Refusals};
use super::session::Visitor;
use super::settings::Settings;
use super::view::{CopyBlock, Section, Shell, State, When};
use crate::access::{Role, Scope};
use crate::error::{Error, Kind};
use crate::id::ApiKeyId;
use crate::manage;
use crate::sample;
use crate::store::workspaces::{self, ApiKey};
use actix_web::http::StatusCode;
use actix_web::web;
use askama::Template;

/// Keys that the list shows.
const MAX_KEYS: usize = 200;

/// A command that posts one event, ready to paste.
pub(super) fn curl(settings: &Settings, key: &str, now_ms: i64) -> String {
    sample::curl(&settings.public_url, key, now_ms)
}

struct Row {
    id: String,
    name: String,
    prefix: String,
    scopes: Vec<&'static str>,
    source: String,
    creator: String,
    created: When,
    state: State,
    works: bool,
}

impl Row {
    fn new(key: ApiKey, now_ms: i64) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes.iter().map(|scope| scope.as_str()).collect(),
            source: key.source_name.unwrap_or_default(),
            creator: key
                .created_by_name
                .unwrap_or_else(|| "the command line".to_owned()),
            created: When::new(key.created_at_ms, now_ms),
            state: State::of_key(key.revoked_at_ms.is_none()),
            works: key.revoked_at_ms.is_none(),
        }
    }
}

struct ScopeChoice {
    scope: &'static str,
    about: &'static str,
    is_chosen: bool,
}

fn choices(chosen: &[Scope]) -> Vec<ScopeChoice> {
    Scope::ALL
        .into_iter()
        .map(|scope| ScopeChoice {
            scope: scope.as_str(),
            about: match scope {
                Scope::WriteEvents => "Post events",
                Scope::WriteCustomEvents => "Post custom events through MCP",
                Scope::ReadEvents => "Read events and profiles",
                Scope::ReadWebhooks => "Read webhooks and deliveries",
                Scope::WriteWebhooks => "Change webhooks",
                Scope::AdminWorkspace => "Everything in this workspace",
            },
            is_chosen: chosen.contains(&scope),
        })
        .collect()
}

#[derive(Template)]
#[template(path = "keys.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    name: String,
    choices: Vec<ScopeChoice>,
    refusals: Refusals,
}

async fn render(
    visitor: &Visitor,
    flash: &Flash,
    (name, chosen): (String, &[Scope]),
    refusals: Refusals,
) -> Page {
    let workspace = visitor.membership.workspace;
    let now_ms = visitor.desk().now_ms;
    let keys = visitor
        .desk()
        .read(move |connection| workspaces::api_keys(connection, workspace, MAX_KEYS))
        .await?;
    let status = refusals.status();
    let list = List {
        shell: Shell::new(visitor, Section::Keys, "API keys", flash),
        rows: keys.into_iter().map(|key| Row::new(key, now_ms)).collect(),
        name,
        choices: choices(chosen),
        refusals,
    };
    page(status, &list)
}

/// The keys of the workspace, and the form for another one.
pub(super) async fn list(visitor: Visitor, flash: web::Query<Flash>) -> Page {
    visitor.must_be(Role::Admin)?;
    let blank = (String::new(), [Scope::WriteEvents].as_slice());
    render(&visitor, &flash, blank, Refusals::default()).await
}

#[derive(Template)]
#[template(path = "key_created.html")]
struct Created {
    shell: Shell,
    name: String,
    key: CopyBlock,
    curl: Option<CopyBlock>,
}

/// Makes a key and shows it, this once: the answer to the form is the page itself.
pub(super) async fn create(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Admin)?;
    let fields = form.open_signed(&visitor.person.form_token, &["name", "scope"])?;
    let name = fields.one("name").to_owned();
    let scopes = fields
        .all("scope")
        .iter()
        .map(|word| Scope::parse(word))
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Error::field("/scope", "unknown_scope", "There is no such scope."))?;
    let (workspace, wanted, granted) = (visitor.membership.workspace, name.clone(), scopes.clone());
    let created = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::create_api_key(connection, actor, workspace, &wanted, None, &granted)
        })
        .await;
    let created = match created {
        Ok(created) => created,
        Err(error) => {
            let refusals = Refusals::of(error)?;
            return render(&visitor, &Flash::default(), (name, &scopes), refusals).await;
        }
    };
    let curl = scopes.contains(&Scope::WriteEvents).then(|| {
        let desk = visitor.desk();
        CopyBlock::new(
            "the command",
            curl(&desk.settings, &created.key, desk.now_ms),
        )
    });
    let shown = Created {
        shell: Shell::new(&visitor, Section::Keys, "New API key", &Flash::default()),
        name,
        key: CopyBlock::new("the API key", created.key),
        curl,
    };
    page(StatusCode::CREATED, &shown)
}

#[derive(Template)]
#[template(path = "key_revoke.html")]
struct AskRevoke {
    shell: Shell,
    key: Row,
}

fn key_id(path: &(String, String)) -> Result<ApiKeyId, Error> {
    path.1.parse().map_err(|_| Error::not_found("API key"))
}

/// Asks before a key stops working.
pub(super) async fn ask_revoke(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Admin)?;
    let (workspace, id) = (visitor.membership.workspace, key_id(&path)?);
    let key = visitor
        .desk()
        .read(move |connection| workspaces::api_key(connection, workspace, id))
        .await?;
    if key.revoked_at_ms.is_some() {
        let message = "This key is revoked already; the next request with it is refused.";
        return Err(Error::new(Kind::Conflict, "already_revoked", message).into());
    }
    ok(&AskRevoke {
        shell: Shell::new(&visitor, Section::Keys, "Revoke key", &Flash::default()),
        key: Row::new(key, visitor.desk().now_ms),
    })
}

/// Stops a key from working.
pub(super) async fn revoke(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Admin)?;
    let (workspace, id) = (visitor.membership.workspace, key_id(&path)?);
    form.open_signed(&visitor.person.form_token, &[])?;
    visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::revoke_api_key(connection, actor, workspace, id)
        })
        .await?;
    let keys = format!("{}/keys", visitor.base());
    Ok(see_other(&flash::to(&keys, Said::Revoked, 0)))
}
