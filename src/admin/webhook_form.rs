//! The form of a webhook, new or known: name, endpoint URL and the events it wants, chosen from
//! what was seen or written by hand.

use super::answer::{Page, page, see_other};
use super::flash::{self, Flash, Said};
use super::format::number;
use super::forms::{Fields, Form, Refusals};
use super::session::Visitor;
use super::settings::Settings;
use super::view::{CopyBlock, Section, Shell};
use crate::access::Role;
use crate::address;
use crate::error::{Error, FieldError, Kind, Result};
use crate::id::WebhookId;
use crate::manage;
use crate::store::profiles::{self, EventTypeRow};
use crate::store::webhooks;
use crate::webhook::{Signing, WebhookInput, must_be_https};
use actix_web::http::StatusCode;
use actix_web::web;
use askama::Template;

/// Seen event types that are offered as check boxes; the rest is offered while writing.
const MAX_CHOICES: usize = 60;
/// Seen event types that are offered at all.
const MAX_SUGGESTIONS: usize = 300;
/// Rows to write in that are there before any is asked for, so that it works without a script.
const BLANK_ROWS: usize = 2;
/// The families of Jimo's experience events, and the kind without a name: offered while writing.
const FAMILIES: [&str; 7] = [
    "tour.*",
    "survey.*",
    "checklist.*",
    "hint.*",
    "banner.*",
    "post.*",
    "identify",
];

struct Choice {
    name: String,
    events: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "webhook_form.html")]
struct Editor {
    shell: Shell,
    title: &'static str,
    action: String,
    back: String,
    submit: &'static str,
    name: String,
    url: String,
    wants_all: bool,
    choices: Vec<Choice>,
    written: Vec<String>,
    suggestions: Vec<String>,
    refusals: Refusals,
}

/// What stands in the form.
struct Draft {
    id: Option<WebhookId>,
    input: WebhookInput,
    refusals: Refusals,
}

fn arrange(seen: Vec<EventTypeRow>, events: &[String]) -> (Vec<Choice>, Vec<String>, Vec<String>) {
    let mut suggestions: Vec<String> = FAMILIES.iter().map(ToString::to_string).collect();
    let mut choices = Vec::new();
    for row in seen {
        if choices.len() < MAX_CHOICES {
            choices.push(Choice {
                is_chosen: events.contains(&row.name),
                events: number(row.events),
                name: row.name,
            });
        } else {
            suggestions.push(row.name);
        }
    }
    let is_choice = |event: &&String| choices.iter().any(|choice| choice.name == **event);
    let mut written: Vec<String> = events
        .iter()
        .filter(|event| !event.trim().is_empty() && *event != "*" && !is_choice(event))
        .cloned()
        .collect();
    written.extend(std::iter::repeat_n(String::new(), BLANK_ROWS));
    (choices, written, suggestions)
}

async fn render(visitor: &Visitor, draft: Draft) -> Page {
    let workspace = visitor.membership.workspace;
    let seen = visitor
        .desk()
        .read(move |connection| profiles::event_types(connection, workspace, MAX_SUGGESTIONS))
        .await?;
    let (choices, written, suggestions) = arrange(seen, &draft.input.events);
    let list = format!("{}/webhooks", visitor.base());
    let (title, submit, action) = match draft.id {
        None => ("New webhook", "Create webhook", list.clone()),
        Some(id) => ("Edit webhook", "Save changes", format!("{list}/{id}")),
    };
    let status = draft.refusals.status();
    let editor = Editor {
        shell: Shell::new(visitor, Section::Webhooks, title, &Flash::default()),
        title,
        back: if draft.id.is_some() {
            action.clone()
        } else {
            list
        },
        action,
        submit,
        wants_all: draft.input.events.iter().any(|event| event.trim() == "*"),
        name: draft.input.name,
        url: draft.input.url,
        choices,
        written,
        suggestions,
        refusals: draft.refusals,
    };
    page(status, &editor)
}

/// The form of a new webhook.
pub(super) async fn new(visitor: Visitor) -> Page {
    visitor.must_be(Role::Member)?;
    let draft = Draft {
        id: None,
        input: WebhookInput::default(),
        refusals: Refusals::default(),
    };
    render(&visitor, draft).await
}

/// The form of a known webhook.
pub(super) async fn edit(visitor: Visitor, path: web::Path<(String, String)>) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    let vault = visitor.desk().vault.clone();
    let row = visitor
        .desk()
        .read(move |connection| webhooks::get(connection, &vault, workspace, id))
        .await?;
    let draft = Draft {
        id: Some(id),
        input: WebhookInput::of(&row.webhook.settings),
        refusals: Refusals::default(),
    };
    render(&visitor, draft).await
}

/// The id in a path.
///
/// # Errors
/// [`Kind::NotFound`].
pub(super) fn webhook_id(text: &str) -> Result<WebhookId> {
    text.parse().map_err(|_| Error::not_found("webhook"))
}

fn input(fields: &Fields) -> WebhookInput {
    WebhookInput {
        name: fields.one("name").to_owned(),
        url: fields.one("url").to_owned(),
        events: fields.all("event"),
        ..WebhookInput::default()
    }
}

/// Checks what was written, and the address as far as it can be judged without asking a resolver:
/// a webhook that could never be sent to is better refused now than found out later.
fn check(input: &WebhookInput, settings: &Settings) -> Result<()> {
    let mut refused: Vec<FieldError> = match input.check(None) {
        Ok(_) => Vec::new(),
        Err(e) if e.field_errors().is_empty() => return Err(e),
        Err(e) => e.field_errors().to_vec(),
    };
    if let Some(address) = url::Url::parse(input.url.trim())
        .ok()
        .and_then(|url| address::literal(&url.host()?))
        && !address::may_dial(address, &settings.allowed_targets)
    {
        refused.push(FieldError {
            pointer: "/url".to_owned(),
            code: "blocked_address",
            detail: format!(
                "{address} is a private or reserved address, which the box does not dial. If it is meant to, start it with {}.",
                address::allowing_flag(address)
            ),
        });
    }
    if settings.requires_https
        && let Err(e) = must_be_https(&input.url)
    {
        refused.extend(e.field_errors().to_vec());
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(refused))
    }
}

#[derive(Template)]
#[template(path = "webhook_created.html")]
struct Created {
    shell: Shell,
    name: String,
    href: String,
    secret: CopyBlock,
}

/// Makes a webhook and shows its secret, this once: the answer to the form is the page itself.
pub(super) async fn create(visitor: Visitor, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let fields = form.open_signed(&visitor.person.form_token, &["name", "url", "event"])?;
    let input = input(&fields);
    let workspace = visitor.membership.workspace;
    let made = match check(&input, &visitor.desk().settings) {
        Err(refusal) => Err(refusal),
        Ok(()) => {
            let (vault, wanted) = (visitor.desk().vault.clone(), input.clone());
            visitor
                .desk()
                .change_catalog(visitor.user(), move |connection, actor| {
                    manage::create_webhook(
                        connection,
                        actor,
                        &vault,
                        workspace,
                        &wanted,
                        Signing::Hmac,
                    )
                })
                .await
        }
    };
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            let refusals = Refusals::of(error)?;
            let draft = Draft {
                id: None,
                input,
                refusals,
            };
            return render(&visitor, draft).await;
        }
    };
    let shown = Created {
        shell: Shell::new(
            &visitor,
            Section::Webhooks,
            "Webhook created",
            &Flash::default(),
        ),
        name: input.name.trim().to_owned(),
        href: format!("{}/webhooks/{}", visitor.base(), made.id),
        secret: CopyBlock::new("the signing secret", made.secret),
    };
    page(StatusCode::CREATED, &shown)
}

/// Changes a webhook.
pub(super) async fn save(visitor: Visitor, path: web::Path<(String, String)>, form: Form) -> Page {
    visitor.must_be(Role::Member)?;
    let (workspace, id) = (visitor.membership.workspace, webhook_id(&path.1)?);
    // A webhook that is not there is said before anything in the form is.
    let vault = visitor.desk().vault.clone();
    visitor
        .desk()
        .read(move |connection| webhooks::get(connection, &vault, workspace, id))
        .await?;
    let fields = form.open_signed(&visitor.person.form_token, &["name", "url", "event"])?;
    let input = input(&fields);
    let saved = match check(&input, &visitor.desk().settings) {
        Err(refusal) => Err(refusal),
        Ok(()) => {
            let (vault, wanted) = (visitor.desk().vault.clone(), input.clone());
            visitor
                .desk()
                .change_catalog(visitor.user(), move |connection, actor| {
                    manage::edit_webhook(connection, actor, &vault, workspace, id, &wanted)
                })
                .await
        }
    };
    match saved {
        Ok(()) => {
            let shown = format!("{}/webhooks/{id}", visitor.base());
            Ok(see_other(&flash::to(&shown, Said::Saved, 0)))
        }
        Err(error) if error.kind() == Kind::Invalid => {
            let refusals = Refusals::of(error)?;
            let draft = Draft {
                id: Some(id),
                input,
                refusals,
            };
            render(&visitor, draft).await
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input_to(url: &str) -> WebhookInput {
        WebhookInput {
            name: "CRM".to_owned(),
            url: url.to_owned(),
            events: vec!["*".to_owned()],
            ..WebhookInput::default()
        }
    }

    #[test]
    fn an_address_that_is_never_dialled_is_refused_at_once() {
        let mut settings = Settings {
            public_url: "http://localhost:8080/".parse().unwrap(),
            insecure_http: false,
            listens_on_network: false,
            trusted_proxies: Vec::new(),
            allowed_targets: Vec::new(),
            requires_https: false,
            attempts: 10,
            keep_deliveries_ms: 1,
        };
        for url in [
            "http://127.0.0.1:9000/hook",
            "http://localhost:9000/hook",
            "http://[::1]/",
            "http://0x7f.1/",
        ] {
            let refusal = check(&input_to(url), &settings).unwrap_err();
            assert_eq!(refusal.code(), "blocked_address", "{url}");
            assert!(refusal.message().contains("--allow-target"), "{url}");
        }
        assert!(check(&input_to("https://example.com/hook"), &settings).is_ok());
        settings.allowed_targets = vec!["127.0.0.0/8".parse().unwrap()];
        assert!(check(&input_to("http://localhost:9000/hook"), &settings).is_ok());
        settings.requires_https = true;
        let refusal = check(&input_to("http://example.com/hook"), &settings).unwrap_err();
        assert_eq!(refusal.code(), "insecure_url");
        assert!(refusal.message().contains("--require-https"));
        assert!(check(&input_to("https://example.com/hook"), &settings).is_ok());
    }

    #[test]
    fn what_was_seen_is_chosen_and_the_rest_is_written() {
        let seen = vec![EventTypeRow {
            name: "Post Created".to_owned(),
            events: 3,
            last_seen_at_ms: 0,
        }];
        let events = ["Post Created", "tour.*", "*", ""].map(str::to_owned);
        let (choices, written, _) = arrange(seen, &events);
        assert!(choices[0].is_chosen);
        assert_eq!(written, ["tour.*", "", ""]);
    }
}
