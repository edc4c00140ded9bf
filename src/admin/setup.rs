//! The first admin: a link with a one-time token, printed by the server, leads to a form that makes
//! the person, the first workspace and its first key, and ends where the first event shows up.

use super::answer::{Page, ok, page, see_other};
use super::csrf;
use super::desk::Desk;
use super::flash::Flash;
use super::forms::{Form, Refusals};
use super::gate::{Gate, Guesser};
use super::keys::curl;
use super::login::must_be_private;
use super::overview::{Steps, steps};
use super::session::{self, base};
use super::view::{CopyBlock, Door, Section, Shell};
use crate::access::{self, Role, Scope};
use crate::error::{Error, FieldError, Kind, Result};
use crate::manage::{self, NewUser};
use crate::password;
use crate::secret::{self, TokenHash};
use crate::store;
use crate::store::access::Membership;
use actix_web::http::StatusCode;
use actix_web::web;
use askama::Template;
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use subtle::ConstantTimeEq as _;

/// What the first key is called.
const FIRST_KEY_NAME: &str = "First key";

/// The hash of the token that lets one person set the box up, as long as it is good.
#[derive(Debug)]
pub struct SetupToken(Mutex<Option<TokenHash>>);

impl SetupToken {
    /// For a box that has users: no token is good.
    pub fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// A new token, and its text for the link `{public_url}setup?token=…`.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn new() -> Result<(Self, String)> {
        let token = secret::random_token()?;
        let hash = secret::hash_token(&token);
        Ok((Self(Mutex::new(Some(hash))), token))
    }

    fn is_good(&self, token: &str) -> bool {
        let given = secret::hash_token(token);
        self.lock()
            .is_some_and(|hash| hash.as_slice().ct_eq(&given).into())
    }

    fn spend(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TokenHash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Template)]
#[template(path = "setup.html")]
struct Setup {
    door: Door,
    token: String,
    email: String,
    name: String,
    workspace: String,
    refusals: Refusals,
}

#[derive(Template)]
#[template(path = "setup_done.html")]
struct Done {
    shell: Shell,
    key: CopyBlock,
    curl: CopyBlock,
    steps: Steps,
}

#[derive(Deserialize)]
pub(super) struct TokenQuery {
    token: Option<String>,
}

/// Lets a request with the good token pass while nobody has an account.
async fn must_be_invited(desk: &Desk, gate: &Gate, setup: &SetupToken, token: &str) -> Result<()> {
    must_be_private(&desk.settings)?;
    let guesser: Vec<_> = desk.address.map(Guesser::Address).into_iter().collect();
    gate.admit(&guesser, desk.now_ms)?;
    if setup.is_good(token) {
        gate.forgive(&guesser);
        return Ok(());
    }
    Err(Error::new(
        Kind::Forbidden,
        "setup_token",
        "This setup link is not good, or not any more. The server prints a new one each time it starts without any user.",
    ))
}

/// The form.
pub(super) async fn form(
    desk: Desk,
    gate: web::Data<Gate>,
    setup: web::Data<SetupToken>,
    query: web::Query<TokenQuery>,
) -> Page {
    if desk.read(store::access::has_users).await? {
        return Ok(see_other("/login"));
    }
    let token = query.into_inner().token.unwrap_or_default();
    must_be_invited(&desk, &gate, &setup, &token).await?;
    ok(&Setup {
        door: Door::new(&desk.settings, "Set up"),
        token,
        email: String::new(),
        name: String::new(),
        workspace: String::new(),
        refusals: Refusals::default(),
    })
}

/// What the form asks for, checked.
struct Wish {
    user: NewUser,
    workspace: String,
}

fn check(email: &str, name: &str, password: &str, workspace: &str) -> Result<(String, String)> {
    let mut refused: Vec<FieldError> = Vec::new();
    let mut note = |error: Error, field: &'static str| {
        refused.extend(error.field_errors().iter().cloned().map(|mut refusal| {
            refusal.pointer = format!("/{field}");
            refusal
        }));
    };
    let email = access::check_email(email).map_err(|e| note(e, "email"));
    if !name.trim().is_empty() {
        let _ = access::check_name(name).map_err(|e| note(e, "name"));
    }
    let _ = password::check(password).map_err(|e| note(e, "password"));
    let workspace = access::check_name(workspace).map_err(|e| note(e, "workspace"));
    match (email, workspace) {
        (Ok(email), Ok(workspace)) if refused.is_empty() => Ok((email, workspace)),
        _ => Err(Error::fields(refused)),
    }
}

/// Makes the first person, workspace and key, and signs the person in.
pub(super) async fn create(
    desk: Desk,
    gate: web::Data<Gate>,
    setup: web::Data<SetupToken>,
    form: Form,
) -> Page {
    if desk.read(store::access::has_users).await? {
        return Ok(see_other("/login"));
    }
    let fields = form.open(&["token", "email", "name", "password", "workspace"])?;
    must_be_invited(&desk, &gate, &setup, fields.one("token")).await?;
    let checked = check(
        fields.one("email"),
        fields.one("name"),
        fields.one("password"),
        fields.one("workspace"),
    );
    let (email, workspace) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let again = Setup {
                door: Door::new(&desk.settings, "Set up"),
                token: fields.one("token").to_owned(),
                email: fields.one("email").to_owned(),
                name: fields.one("name").to_owned(),
                workspace: fields.one("workspace").to_owned(),
                refusals: Refusals::of(error)?,
            };
            return page(StatusCode::UNPROCESSABLE_ENTITY, &again);
        }
    };
    let wish = Wish {
        user: NewUser {
            email,
            name: fields.one("name").to_owned(),
            password_hash: gate.hash(fields.one("password").to_owned()).await?,
            is_operator: true,
        },
        workspace,
    };
    let made = make(&desk, wish).await?;
    setup.spend();
    welcome(desk, made).await
}

struct Made {
    user: store::access::User,
    membership: Membership,
    key: String,
}

async fn make(desk: &Desk, wish: Wish) -> Result<Made> {
    desk.change_catalog(None, move |connection, actor| {
        // Two forms may be sent at once; only inside the transaction is "nobody yet" certain.
        if store::access::has_users(connection)? {
            return Err(Error::new(
                Kind::Conflict,
                "already_set_up",
                "Somebody has set this box up already; sign in instead.",
            ));
        }
        let user = manage::create_user(connection, actor, &wish.user)?;
        let actor = &manage::Actor {
            user: Some(user.id),
            ..*actor
        };
        let (workspace, slug) =
            manage::create_workspace(connection, actor, &wish.workspace, Some(user.id))?;
        let key = manage::create_api_key(
            connection,
            actor,
            workspace,
            FIRST_KEY_NAME,
            None,
            &[Scope::WriteEvents],
        )?;
        Ok(Made {
            user,
            membership: Membership {
                workspace,
                slug,
                name: wish.workspace.clone(),
                role: Role::Owner,
            },
            key: key.key,
        })
    })
    .await
}

/// The page that shows the key once, and where its first event shows up.
async fn welcome(desk: Desk, made: Made) -> Page {
    let (cookie, token) = session::begin(&desk, made.user.id).await?;
    let workspace = made.membership.workspace;
    let (now_ms, base_path) = (desk.now_ms, base(&made.membership));
    let steps = desk
        .read(move |connection| steps(connection, workspace, base_path, now_ms))
        .await?;
    let curl = curl(&desk.settings, &made.key, now_ms);
    let visitor = session::Visitor {
        person: session::Person {
            desk,
            user: made.user,
            form_token: csrf::form_token(&token),
            session: secret::hash_token(&token),
            workspaces: vec![made.membership.clone()],
        },
        membership: made.membership,
    };
    let done = Done {
        shell: Shell::new(&visitor, Section::Overview, "Ready", &Flash::default()),
        key: CopyBlock::new("the API key", made.key),
        curl: CopyBlock::new("the command", curl),
        steps,
    };
    let mut response = page(StatusCode::CREATED, &done)?;
    response.add_cookie(&cookie).map_err(Error::internal)?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_is_spent() {
        let (setup, token) = SetupToken::new().unwrap();
        assert!(setup.is_good(&token) && !setup.is_good("") && !setup.is_good("x"));
        setup.spend();
        assert!(!setup.is_good(&token));
        assert!(!SetupToken::none().is_good(&token));
    }

    #[test]
    fn every_refused_field_is_said_at_once() {
        let refusal = check("jane", "", "short", "").unwrap_err();
        let pointers: Vec<_> = refusal
            .field_errors()
            .iter()
            .map(|field| field.pointer.as_str())
            .collect();
        assert_eq!(pointers, ["/email", "/password", "/workspace"]);
        assert!(check("jane@example.com", "", "pillar box red", "Acme").is_ok());
    }
}
