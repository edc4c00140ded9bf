//! BE LOOKED AT: the pages for people. One file per group of screens, each template's struct beside
//! its handler; what they share stands in files that import none of them. Knows neither the command
//! line nor how the server is put together.

mod answer;
mod assets;
mod attempt_view;
mod billing;
mod csrf;
mod curl;
mod deliveries;
mod delivery;
mod desk;
mod event_type_form;
mod event_types;
mod events;
mod expunge;
mod flash;
mod format;
mod forms;
mod funnels;
mod gate;
mod headers;
mod history_filter;
mod json_view;
mod keys;
mod limits;
mod login;
mod overview;
mod profile;
mod profiles;
mod rejects;
mod replays;
mod resend;
mod session;
mod settings;
mod setup;
mod sources;
mod view;
mod webhook_catalog;
mod webhook_check;
mod webhook_draft;
mod webhook_form;
mod webhook_page;
mod webhook_secret;
mod webhooks;
mod workspaces;

pub use csrf::comes_from_our_pages;
pub use gate::Gate;
pub use session::{Member, member};
pub use settings::Settings;
pub use setup::SetupToken;

use actix_web::guard::GuardContext;
use actix_web::middleware::from_fn;
use actix_web::web::{self, post, resource};
use actix_web::{Route, guard};
use answer::missing;

/// Adds the pages to an app.
///
/// The app must hold, each in `web::Data`: `Writer`, `Readers`, `CatalogHandle`, `IdGenerator`,
/// `Vault`, `AttemptRequests`, `Replays`, `UrlChecker`, [`Settings`], [`SetupToken`] and one [`Gate`] for all its
/// workers.
pub fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(resource("/static/{name:[a-zA-Z0-9._-]+}").route(get().to(assets::serve)));
    // The guard keeps this scope from swallowing paths that are not pages.
    cfg.service(
        web::scope("")
            .guard(guard::fn_guard(is_page))
            .wrap(from_fn(csrf::guard))
            .wrap(headers::of_pages())
            .app_data(web::PayloadConfig::new(forms::MAX_FORM_BYTES))
            .app_data(web::QueryConfig::default().error_handler(|_, _| answer::bad_query().into()))
            .configure(doors)
            .configure(looking)
            .configure(changing)
            .configure(sending)
            .configure(senders)
            .default_service(web::to(missing)),
    );
}

fn is_page(context: &GuardContext<'_>) -> bool {
    let path = context.head().uri.path();
    let first = path.trim_start_matches('/').split('/').next();
    matches!(
        first,
        Some("" | "login" | "logout" | "setup" | "workspaces" | "w")
    )
}

/// Looking: HEAD asks for the same as GET, less the body, which actix leaves out.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path whose other methods do not exist.
fn at(path: &str) -> actix_web::Resource {
    resource(path).default_service(web::to(missing))
}

fn doors(cfg: &mut web::ServiceConfig) {
    cfg.service(at("/").route(get().to(login::home)))
        .service(
            at("/login")
                .route(get().to(login::form))
                .route(post().to(login::sign_in)),
        )
        .service(at("/logout").route(post().to(login::sign_out)))
        .service(
            at("/setup")
                .route(get().to(setup::form))
                .route(post().to(setup::create)),
        )
        .service(
            at("/workspaces")
                .route(get().to(workspaces::list))
                .route(post().to(workspaces::create)),
        )
        .service(
            at("/w/{workspace}/rename")
                .route(get().to(workspaces::rename_form))
                .route(post().to(workspaces::rename)),
        );
}

fn looking(cfg: &mut web::ServiceConfig) {
    cfg.service(at("/w/{workspace}").route(get().to(overview::show)))
        .service(at("/w/{workspace}/events").route(get().to(events::list)))
        .service(at("/w/{workspace}/events/{id}").route(get().to(events::show)))
        .service(at("/w/{workspace}/rejects").route(get().to(rejects::list)))
        .service(at("/w/{workspace}/rejects/{id}").route(get().to(rejects::show)))
        .service(at("/w/{workspace}/profiles").route(get().to(profiles::list)))
        .service(at("/w/{workspace}/profiles/{id}").route(get().to(profile::show)))
        .service(
            at("/w/{workspace}/profiles/{id}/merges/{merge}/undo")
                .route(post().to(profile::undo_merge)),
        )
        .service(at("/w/{workspace}/deliveries/{id}").route(get().to(delivery::show)));
}

/// What left, and what a person has sent once more.
fn sending(cfg: &mut web::ServiceConfig) {
    cfg.service(
        at("/w/{workspace}/deliveries")
            .route(get().to(deliveries::list))
            .route(post().to(deliveries::act)),
    )
    .service(at("/w/{workspace}/deliveries/{id}/retry").route(post().to(delivery::retry)))
    .service(at("/w/{workspace}/deliveries/{id}/cancel").route(post().to(delivery::cancel)))
    .service(
        at("/w/{workspace}/deliveries/{id}/expunge")
            .route(get().to(expunge::ask_delivery))
            .route(post().to(expunge::delivery)),
    )
    .service(at("/w/{workspace}/events/{id}/resend").route(post().to(resend::event)))
    .service(
        at("/w/{workspace}/events/{id}/expunge")
            .route(get().to(expunge::ask_event))
            .route(post().to(expunge::event)),
    )
    .service(at("/w/{workspace}/webhooks/{id}/test").route(post().to(resend::test)))
    .service(at("/w/{workspace}/webhooks/{id}/replay").route(post().to(replays::create_of_webhook)))
    .service(
        at("/w/{workspace}/replays")
            .route(get().to(replays::list))
            .route(post().to(replays::create)),
    )
    .service(at("/w/{workspace}/replays/{id}").route(get().to(replays::show)))
    .service(at("/w/{workspace}/replays/{id}/start").route(post().to(replays::start)))
    .service(at("/w/{workspace}/replays/{id}/pause").route(post().to(replays::pause)))
    .service(at("/w/{workspace}/replays/{id}/cancel").route(post().to(replays::cancel)));
}

fn changing(cfg: &mut web::ServiceConfig) {
    cfg.service(
        at("/w/{workspace}/webhooks")
            .route(get().to(webhooks::list))
            .route(post().to(webhook_form::create)),
    )
    .service(at("/w/{workspace}/webhooks/new").route(get().to(webhook_form::new)))
    .service(
        at("/w/{workspace}/webhooks/{id}")
            .route(get().to(webhook_page::show))
            .route(post().to(webhook_form::save)),
    )
    .service(at("/w/{workspace}/webhooks/{id}/edit").route(get().to(webhook_form::edit)))
    .service(
        at("/w/{workspace}/webhooks/{id}/secret")
            .route(get().to(webhook_secret::show))
            .route(post().to(webhook_secret::reveal)),
    )
    .service(
        at("/w/{workspace}/webhooks/{id}/secret/rotate").route(post().to(webhook_secret::rotate)),
    )
    .service(
        at("/w/{workspace}/webhooks/{id}/secret/end-overlap")
            .route(post().to(webhook_secret::end_overlap)),
    )
    .service(at("/w/{workspace}/webhooks/{id}/pause").route(post().to(webhooks::pause)))
    .service(
        at("/w/{workspace}/webhooks/{id}/activate")
            .route(get().to(webhooks::ask_activate))
            .route(post().to(webhooks::activate)),
    )
    .service(
        at("/w/{workspace}/webhooks/{id}/delete")
            .route(get().to(webhooks::ask_delete))
            .route(post().to(webhooks::delete)),
    );
}

fn senders(cfg: &mut web::ServiceConfig) {
    cfg.service(
        at("/w/{workspace}/sources")
            .route(get().to(sources::list))
            .route(post().to(sources::create)),
    )
    .service(
        at("/w/{workspace}/sources/{id}")
            .route(get().to(sources::show))
            .route(post().to(sources::save)),
    )
    .service(at("/w/{workspace}/sources/{id}/stripe").route(post().to(sources::set_stripe_secret)))
    .service(
        at("/w/{workspace}/sources/{id}/rotate")
            .route(get().to(sources::ask_rotate))
            .route(post().to(sources::rotate)),
    )
    .service(
        at("/w/{workspace}/funnels")
            .route(get().to(funnels::list))
            .route(post().to(funnels::create)),
    )
    .service(at("/w/{workspace}/funnels/{id}").route(post().to(funnels::save)))
    .service(
        at("/w/{workspace}/settings")
            .route(get().to(limits::show))
            .route(post().to(limits::save)),
    )
    .service(at("/w/{workspace}/event-types").route(get().to(event_types::list)))
    .service(
        at("/w/{workspace}/event-types/{name}")
            .route(get().to(event_type_form::show))
            .route(post().to(event_type_form::save)),
    )
    .service(
        at("/w/{workspace}/event-types/{name}/remove")
            .route(get().to(event_type_form::ask_remove))
            .route(post().to(event_type_form::remove)),
    )
    .service(
        at("/w/{workspace}/keys")
            .route(get().to(keys::list))
            .route(post().to(keys::create)),
    )
    .service(
        at("/w/{workspace}/keys/{id}/revoke")
            .route(get().to(keys::ask_revoke))
            .route(post().to(keys::revoke)),
    );
}
