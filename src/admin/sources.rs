//! Sources: the list, one of them with what to paste into an app, its settings, and its two secrets.

use super::answer::{Page, ok, page, see_other};
use super::flash::{self, Flash, Said};
use super::forms::{Fields, Form, Refusals};
use super::session::Visitor;
use super::view::{CopyBlock, Section, Shell, When};
use crate::access::Role;
use crate::error::{Error, Result};
use crate::id::SourceId;
use crate::manage::{self, SourceInput};
use crate::snippets::{self, Place};
use crate::store::sources::{self, SourceRow};
use actix_web::http::StatusCode;
use actix_web::web;
use askama::Template;

/// Sources that the list shows.
const MAX_SOURCES: usize = 200;
/// Origins that a row of the list shows.
const SHOWN_ORIGINS: usize = 2;

struct Row {
    href: String,
    id: String,
    name: String,
    origins: Vec<String>,
    more: usize,
    has_stripe_secret: bool,
    created: When,
}

impl Row {
    fn new(source: SourceRow, base: &str, now_ms: i64) -> Self {
        let origins = source.about.origins;
        Self {
            href: format!("{base}/sources/{}", source.id),
            id: source.id.to_string(),
            name: source.about.name,
            more: origins.len().saturating_sub(SHOWN_ORIGINS),
            origins: origins.into_iter().take(SHOWN_ORIGINS).collect(),
            has_stripe_secret: source.has_stripe_secret,
            created: When::new(source.created_at_ms, now_ms),
        }
    }
}

#[derive(Template)]
#[template(path = "sources.html")]
struct List {
    shell: Shell,
    rows: Vec<Row>,
    name: String,
    refusals: Refusals,
}

async fn render_list(visitor: &Visitor, flash: &Flash, name: String, refusals: Refusals) -> Page {
    let workspace = visitor.membership.workspace;
    let found = visitor
        .desk()
        .read(move |connection| sources::list(connection, workspace, MAX_SOURCES))
        .await?;
    let (base, now_ms) = (visitor.base(), visitor.desk().now_ms);
    let rows = found.into_iter().map(|row| Row::new(row, &base, now_ms));
    let list = List {
        shell: Shell::new(visitor, Section::Sources, "Sources", flash),
        rows: rows.collect(),
        name,
        refusals,
    };
    page(list.refusals.status(), &list)
}

/// The sources of the workspace, and the form for another one.
pub(super) async fn list(visitor: Visitor, flash: web::Query<Flash>) -> Page {
    visitor.must_be(Role::Admin)?;
    render_list(&visitor, &flash, String::new(), Refusals::default()).await
}

#[derive(Template)]
#[template(path = "source_secret.html")]
struct Secret {
    shell: Shell,
    name: String,
    href: String,
    is_new: bool,
    secret: CopyBlock,
}

impl Secret {
    fn new(visitor: &Visitor, title: &str, name: String, id: SourceId, secret: String) -> Self {
        Self {
            shell: Shell::new(visitor, Section::Sources, title, &Flash::default()),
            name,
            href: href(visitor, id),
            is_new: false,
            secret: CopyBlock::new("the identity secret", secret),
        }
    }
}

/// Makes a source and shows its identity secret, this once: the answer to the form is the page itself.
pub(super) async fn create(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Admin)?;
    let fields = form.open_signed(&visitor.person.form_token, &["name"])?;
    let name = fields.one("name").to_owned();
    let input = SourceInput {
        name: name.clone(),
        ..SourceInput::default()
    };
    let (workspace, vault) = (visitor.membership.workspace, visitor.desk().vault.clone());
    let created = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::create_source(connection, actor, &vault, workspace, &input)
        })
        .await;
    let created = match created {
        Ok(created) => created,
        Err(error) => {
            let refusals = Refusals::of(error)?;
            return render_list(&visitor, &Flash::default(), name, refusals).await;
        }
    };
    let (name, secret) = (name.trim().to_owned(), created.identity_secret);
    let shown = Secret {
        is_new: true,
        ..Secret::new(&visitor, "New source", name, created.id, secret)
    };
    page(StatusCode::CREATED, &shown)
}

// ONE SOURCE --------------------------------------------------------------------------------

fn source_id(path: &(String, String)) -> Result<SourceId> {
    path.1.parse().map_err(|_| Error::not_found("source"))
}

fn href(visitor: &Visitor, id: SourceId) -> String {
    format!("{}/sources/{id}", visitor.base())
}

async fn find(visitor: &Visitor, id: SourceId) -> Result<SourceRow> {
    let workspace = visitor.membership.workspace;
    let work = move |connection: &_| sources::get(connection, workspace, id);
    visitor.desk().read(work).await
}

struct Guide {
    title: &'static str,
    about: &'static str,
    snippets: Vec<(&'static str, CopyBlock)>,
}

#[derive(Template)]
#[template(path = "source.html")]
struct Show {
    shell: Shell,
    id: String,
    href: String,
    /// The source's name as it is kept; `name` is what stands in the form.
    title: String,
    created: When,
    guides: Vec<Guide>,
    name: String,
    origins: String,
    customers_are_accounts: bool,
    has_stripe_secret: bool,
    refusals: Refusals,
}

fn render(
    visitor: &Visitor,
    flash: &Flash,
    source: SourceRow,
    input: SourceInput,
    refusals: Refusals,
) -> Page {
    let desk = visitor.desk();
    let place = Place {
        public_url: &desk.settings.public_url,
        workspace: visitor.membership.workspace,
        source: source.id,
        now_ms: desk.now_ms,
    };
    let guides = snippets::guides(&place).into_iter().map(|guide| Guide {
        title: guide.title,
        about: guide.about,
        snippets: guide
            .snippets
            .into_iter()
            .map(|snippet| (snippet.language, CopyBlock::new(snippet.what, snippet.text)))
            .collect(),
    });
    let status = refusals.status();
    let show = Show {
        shell: Shell::new(visitor, Section::Sources, &source.about.name, flash),
        id: source.id.to_string(),
        href: href(visitor, source.id),
        title: source.about.name,
        created: When::new(source.created_at_ms, desk.now_ms),
        guides: guides.collect(),
        name: input.name,
        origins: input.origins.join("\n"),
        customers_are_accounts: input.customers_are_accounts,
        has_stripe_secret: source.has_stripe_secret,
        refusals,
    };
    page(status, &show)
}

fn as_kept(source: &SourceRow) -> SourceInput {
    SourceInput {
        name: source.about.name.clone(),
        origins: source.about.origins.clone(),
        customers_are_accounts: source.about.customers_are_accounts,
    }
}

/// A source: what to paste, what is said of it, and its secrets.
pub(super) async fn show(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    flash: web::Query<Flash>,
) -> Page {
    visitor.must_be(Role::Admin)?;
    let source = find(&visitor, source_id(&path)?).await?;
    let input = as_kept(&source);
    render(&visitor, &flash, source, input, Refusals::default())
}

fn input(fields: &Fields) -> SourceInput {
    SourceInput {
        name: fields.one("name").to_owned(),
        origins: fields.one("origin").lines().map(str::to_owned).collect(),
        customers_are_accounts: fields.one("customers_are_accounts") == "1",
    }
}

/// Changes what is said of a source.
pub(super) async fn save(visitor: Visitor, path: web::Path<(String, String)>, form: Form) -> Page {
    visitor.must_be(Role::Admin)?;
    let (workspace, id) = (visitor.membership.workspace, source_id(&path)?);
    // A source that is not there is said before anything in the form is.
    let source = find(&visitor, id).await?;
    let allowed = ["name", "origin", "customers_are_accounts"];
    let fields = form.open_signed(&visitor.person.form_token, &allowed)?;
    let input = input(&fields);
    let wanted = input.clone();
    let saved = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::edit_source(connection, actor, workspace, id, &wanted)
        })
        .await;
    match saved {
        Ok(()) => Ok(see_other(&flash::to(
            &href(&visitor, id),
            Said::SourceSaved,
            0,
        ))),
        Err(error) => {
            let refusals = Refusals::of(error)?;
            render(&visitor, &Flash::default(), source, input, refusals)
        }
    }
}

/// Keeps what Stripe signs with; it is not shown again.
pub(super) async fn set_stripe_secret(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Admin)?;
    let (workspace, id) = (visitor.membership.workspace, source_id(&path)?);
    let source = find(&visitor, id).await?;
    let fields = form.open_signed(&visitor.person.form_token, &["stripe_secret"])?;
    let (secret, vault) = (
        fields.one("stripe_secret").to_owned(),
        visitor.desk().vault.clone(),
    );
    let kept = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::set_stripe_secret(connection, actor, &vault, workspace, id, &secret)
        })
        .await;
    match kept {
        Ok(()) => Ok(see_other(&flash::to(
            &href(&visitor, id),
            Said::StripeSecretKept,
            0,
        ))),
        Err(error) => {
            let refusals = Refusals::of(error)?;
            let input = as_kept(&source);
            render(&visitor, &Flash::default(), source, input, refusals)
        }
    }
}

#[derive(Template)]
#[template(path = "source_rotate.html")]
struct AskRotate {
    shell: Shell,
    name: String,
    href: String,
}

/// Asks before the identity secret is replaced.
pub(super) async fn ask_rotate(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Admin)?;
    let source = find(&visitor, source_id(&path)?).await?;
    ok(&AskRotate {
        shell: Shell::new(
            &visitor,
            Section::Sources,
            "Replace the identity secret",
            &Flash::default(),
        ),
        href: href(&visitor, source.id),
        name: source.about.name,
    })
}

/// Replaces the identity secret and shows the new one, this once.
pub(super) async fn rotate(
    visitor: Visitor,
    path: web::Path<(String, String)>,
    form: Form,
) -> Page {
    visitor.must_be(Role::Admin)?;
    let (workspace, id) = (visitor.membership.workspace, source_id(&path)?);
    let source = find(&visitor, id).await?;
    form.open_signed(&visitor.person.form_token, &[])?;
    let vault = visitor.desk().vault.clone();
    let secret = visitor
        .desk()
        .change_catalog(visitor.user(), move |connection, actor| {
            manage::rotate_identity_secret(connection, actor, &vault, workspace, id)
        })
        .await?;
    let name = source.about.name;
    ok(&Secret::new(
        &visitor,
        "New identity secret",
        name,
        id,
        secret,
    ))
}
