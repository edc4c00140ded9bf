//! The door: where `/` leads, signing in and signing out.

use super::answer::{Page, ok, page, see_other};
use super::desk::Desk;
use super::forms::Form;
use super::gate::{Gate, guessers};
use super::session::{self, Person, base};
use super::settings::Settings;
use super::view::Door;
use crate::access;
use crate::error::{Error, Kind};
use crate::store;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpRequest, web};
use askama::Template;
use serde::Deserialize;

/// The cookie that remembers the workspace that was looked at last.
pub(super) const LAST_WORKSPACE_COOKIE: &str = "pillarbox-workspace";
/// A path to come back to has at most this many bytes.
const MAX_NEXT_BYTES: usize = 1_000;
/// The same for an unknown email and a wrong password (promise 25).
const WRONG: &str = "The email or the password is not right.";

#[derive(Template)]
#[template(path = "login.html")]
struct Login {
    door: Door,
    email: String,
    next: String,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "unset.html")]
struct Unset {
    door: Door,
}

/// Leads to the last workspace, to the sign-in form, or says how to set the box up.
pub(super) async fn home(request: HttpRequest) -> Page {
    if let Some(person) = session::find(&request).await? {
        let last = request
            .cookie(LAST_WORKSPACE_COOKIE)
            .map(|cookie| cookie.value().to_owned());
        let workspace = person
            .workspaces
            .iter()
            .find(|membership| Some(&membership.slug) == last.as_ref())
            .or(person.workspaces.first());
        return Ok(match workspace {
            Some(membership) => see_other(&base(membership)),
            None => see_other("/workspaces"),
        });
    }
    let desk = Desk::of(&request)?;
    if desk.read(store::access::has_users).await? {
        return Ok(see_other("/login"));
    }
    ok(&Unset {
        door: Door::new(&desk.settings, "Set up"),
    })
}

/// Refuses to take a password that would travel in the clear, unless the operator said so.
///
/// # Errors
/// [`Kind::Forbidden`], with the two ways out.
pub(super) fn must_be_private(settings: &Settings) -> Result<(), Error> {
    if settings.exposes_passwords() && !settings.insecure_http {
        return Err(Error::new(
            Kind::Forbidden,
            "insecure_http",
            "Passwords would travel unencrypted to this address, so the box takes none. Put a proxy with TLS in front and \
             start the box with --public-url https://…, or, on a network that you trust, with --insecure-http.",
        ));
    }
    Ok(())
}

#[derive(Deserialize)]
pub(super) struct NextQuery {
    next: Option<String>,
}

/// The sign-in form.
pub(super) async fn form(request: HttpRequest, query: web::Query<NextQuery>) -> Page {
    let desk = Desk::of(&request)?;
    must_be_private(&desk.settings)?;
    let next = safe_next(query.next.as_deref().unwrap_or(""));
    if session::find(&request).await?.is_some() {
        return Ok(see_other(next));
    }
    if !desk.read(store::access::has_users).await? {
        return Ok(see_other("/"));
    }
    ok(&Login {
        door: Door::new(&desk.settings, "Sign in"),
        email: String::new(),
        next: next.to_owned(),
        error: None,
    })
}

/// Signs in.
pub(super) async fn sign_in(desk: Desk, gate: web::Data<Gate>, form: Form) -> Page {
    must_be_private(&desk.settings)?;
    let fields = form.open(&["email", "password", "next"])?;
    let next = safe_next(fields.one("next")).to_owned();
    let email = fields.one("email").trim().to_lowercase();
    let again = |status: StatusCode, message: String| {
        page(
            status,
            &Login {
                door: Door::new(&desk.settings, "Sign in"),
                email: fields.one("email").to_owned(),
                next: next.clone(),
                error: Some(message),
            },
        )
    };
    let guessers = guessers(&email, desk.address);
    if let Err(too_many) = gate.admit(&guessers, desk.now_ms) {
        let error = Error::from(too_many);
        let mut response = again(StatusCode::TOO_MANY_REQUESTS, error.message().to_owned())?;
        response
            .headers_mut()
            .insert(RETRY_AFTER, too_many.retry_after_s.into());
        return Ok(response);
    }
    let user = match access::check_email(&email) {
        Ok(email) => {
            desk.read(move |connection| store::access::user_by_email(connection, &email))
                .await?
        }
        Err(_) => None,
    };
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let is_right = gate.verify(fields.one("password").to_owned(), hash).await?;
    let Some(user) = user.filter(|_| is_right) else {
        return again(StatusCode::UNPROCESSABLE_ENTITY, WRONG.to_owned());
    };
    gate.forgive(&guessers);
    let (cookie, _) = session::begin(&desk, user.id).await?;
    let mut response = see_other(&next);
    response.add_cookie(&cookie).map_err(Error::internal)?;
    Ok(response)
}

/// Ends this session, here and in the file.
pub(super) async fn sign_out(person: Person, form: Form) -> Page {
    form.open_signed(&person.form_token, &[])?;
    let session = person.session;
    person
        .desk
        .change(None, move |connection, _| {
            store::access::delete_session(connection, &session)
        })
        .await?;
    let mut response = see_other("/login");
    response
        .add_cookie(&session::removal(&person.desk.settings))
        .map_err(Error::internal)?;
    Ok(response)
}

/// A path of this site to go on to; anything else is the front page.
fn safe_next(next: &str) -> &str {
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= MAX_NEXT_BYTES
        && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if is_local { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_this_site_only() {
        assert_eq!(safe_next("/w/a/events?before=x"), "/w/a/events?before=x");
        for foreign in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/a\r\nset-cookie: x",
            "w/a",
        ] {
            assert_eq!(safe_next(foreign), "/", "{foreign}");
        }
    }
}
