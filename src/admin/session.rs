//! Who is asking: the session cookie, the person behind it, and the member of the workspace in the
//! path. A random token is in the cookie, its SHA-256 in the file (promises 20 and 26).

use super::answer::PageError;
use super::csrf;
use super::desk::Desk;
use super::settings::Settings;
use crate::access::Role;
use crate::error::{Error, Kind, Result};
use crate::id::{UserId, WorkspaceId};
use crate::secret::{self, TokenHash};
use crate::store::access::{self, Membership, User};
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::{FromRequest, HttpRequest};
use futures_util::future::LocalBoxFuture;

/// A session that nobody uses for this long ends.
pub(super) const IDLE_LIMIT_MS: i64 = 12 * 60 * 60 * 1_000;
/// A session ends this long after the sign-in, used or not.
pub(super) const ABSOLUTE_LIMIT_MS: i64 = 14 * 24 * 60 * 60 * 1_000;
/// A session's last use is written at most this often.
const TOUCH_EVERY_MS: i64 = 60 * 1_000;
/// Over https the prefix makes browsers hold to Secure, Path=/ and no Domain.
const SECURE_COOKIE: &str = "__Host-pillarbox";
const PLAIN_COOKIE: &str = "pillarbox";
/// Sent by htmx with what it asks for by itself.
const HTMX_HEADER: &str = "hx-request";

/// A person who is signed in.
pub(super) struct Person {
    /// What handlers work with.
    pub(super) desk: Desk,
    /// Who.
    pub(super) user: User,
    /// The token of this session's forms.
    pub(super) form_token: String,
    /// The session's key in the file.
    pub(super) session: TokenHash,
    /// The workspaces that the person is a member of, by name.
    pub(super) workspaces: Vec<Membership>,
}

/// A person in the workspace that the path names.
pub(super) struct Visitor {
    /// Who.
    pub(super) person: Person,
    /// Where, and what the person may do there.
    pub(super) membership: Membership,
}

impl FromRequest for Person {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            find(&request)
                .await?
                .ok_or_else(|| PageError::SignIn(way_back(&request)))
        })
    }
}

impl FromRequest for Visitor {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let person = find(&request)
                .await?
                .ok_or_else(|| PageError::SignIn(way_back(&request)))?;
            let reference = request
                .match_info()
                .get("workspace")
                .unwrap_or("")
                .to_owned();
            let user = person.user.id;
            let membership = person
                .desk
                .read(move |connection| access::membership(connection, &reference, user))
                .await?;
            Ok(Self { person, membership })
        })
    }
}

impl Visitor {
    /// What handlers work with.
    pub(super) fn desk(&self) -> &Desk {
        &self.person.desk
    }

    /// The user's id, for the audit trail.
    pub(super) fn user(&self) -> Option<UserId> {
        Some(self.person.user.id)
    }

    /// Whether the person has this role or a stronger one.
    pub(super) fn is_at_least(&self, role: Role) -> bool {
        self.membership.role >= role
    }

    /// Lets only this role or a stronger one pass. The others hear what a stranger hears (promise 20).
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`].
    pub(super) fn must_be(&self, role: Role) -> Result<()> {
        if self.is_at_least(role) {
            Ok(())
        } else {
            Err(Error::not_found("page"))
        }
    }

    /// The path of the workspace's overview; every other page of it lies below.
    pub(super) fn base(&self) -> String {
        base(&self.membership)
    }
}

/// A member who is signed in, as a way in knows them that takes a session instead of a key.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// Where.
    pub workspace: WorkspaceId,
    /// What the person may do there.
    pub role: Role,
}

/// The member behind the request's cookie, of the workspace that `reference` names.
///
/// # Errors
/// [`Kind::Unauthorized`] when nobody is signed in; [`Kind::NotFound`] as [`access::membership`].
pub async fn member(request: &HttpRequest, reference: String) -> Result<Member> {
    let person = find(request).await?.ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "not_signed_in",
            "Nobody is signed in with this request's cookie, or the session has ended; sign in again.",
        )
    })?;
    let user = person.user.id;
    let membership = person
        .desk
        .read(move |connection| access::membership(connection, &reference, user))
        .await?;
    Ok(Member {
        user,
        workspace: membership.workspace,
        role: membership.role,
    })
}

/// The path of a workspace's overview.
pub(super) fn base(membership: &Membership) -> String {
    format!("/w/{}", membership.slug)
}

/// The person behind the request's cookie, if there is one and the session has not run out.
///
/// # Errors
/// When the file cannot be read.
pub(super) async fn find(request: &HttpRequest) -> Result<Option<Person>> {
    let desk = Desk::of(request)?;
    let Some(cookie) = request.cookie(cookie_name(&desk.settings)) else {
        return Ok(None);
    };
    let token = cookie.value();
    let (session, form_token) = (secret::hash_token(token), csrf::form_token(token));
    let now_ms = desk.now_ms;
    let found = desk
        .read(move |connection| {
            let Some(found) = access::session(connection, &session)? else {
                return Ok(None);
            };
            if !is_running(found.created_at_ms, found.last_seen_at_ms, now_ms) {
                return Ok(None);
            }
            let workspaces = access::memberships(connection, found.user.id)?;
            Ok(Some((found, workspaces)))
        })
        .await?;
    let Some((found, workspaces)) = found else {
        return Ok(None);
    };
    // What a page polls by itself is no sign of a person, and would keep a session open for ever.
    let is_by_hand = !request.headers().contains_key(HTMX_HEADER);
    if is_by_hand && now_ms - found.last_seen_at_ms >= TOUCH_EVERY_MS {
        let desk = desk.clone();
        actix_web::rt::spawn(async move {
            let touched = desk
                .change(None, move |connection, _| {
                    access::touch_session(connection, &session, now_ms)
                })
                .await;
            if let Err(e) = touched {
                tracing::warn!(error = %e, "a session's last use was not noted");
            }
        });
    }
    Ok(Some(Person {
        desk,
        user: found.user,
        form_token,
        session,
        workspaces,
    }))
}

fn is_running(created_at_ms: i64, last_seen_at_ms: i64, now_ms: i64) -> bool {
    now_ms - created_at_ms < ABSOLUTE_LIMIT_MS && now_ms - last_seen_at_ms < IDLE_LIMIT_MS
}

/// Where to go on after signing in; a form that was posted is not sent again.
fn way_back(request: &HttpRequest) -> Option<String> {
    (request.method() == Method::GET).then(|| {
        request
            .uri()
            .path_and_query()
            .map_or_else(|| "/".to_owned(), ToString::to_string)
    })
}

/// A new session of `user`: the cookie to set and the token behind it.
///
/// # Errors
/// When the file refuses.
pub(super) async fn begin(desk: &Desk, user: UserId) -> Result<(Cookie<'static>, String)> {
    let token = secret::random_token()?;
    let (hash, now_ms) = (secret::hash_token(&token), desk.now_ms);
    desk.change(None, move |connection, _| {
        access::delete_stale_sessions(connection, now_ms - IDLE_LIMIT_MS)?;
        access::insert_session(connection, &hash, user, now_ms)
    })
    .await?;
    Ok((cookie(&desk.settings, token.clone()), token))
}

/// The cookie that takes the session's cookie away.
pub(super) fn removal(settings: &Settings) -> Cookie<'static> {
    let mut cookie = cookie(settings, String::new());
    cookie.make_removal();
    cookie
}

fn cookie(settings: &Settings, token: String) -> Cookie<'static> {
    Cookie::build(cookie_name(settings), token)
        .path("/")
        .http_only(true)
        .secure(settings.is_https())
        .same_site(SameSite::Lax)
        .finish()
}

fn cookie_name(settings: &Settings) -> &'static str {
    if settings.is_https() {
        SECURE_COOKIE
    } else {
        PLAIN_COOKIE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_idle_and_in_the_end_always() {
        assert!(is_running(0, 0, IDLE_LIMIT_MS - 1));
        assert!(!is_running(0, 0, IDLE_LIMIT_MS));
        assert!(is_running(0, ABSOLUTE_LIMIT_MS - 2, ABSOLUTE_LIMIT_MS - 1));
        assert!(!is_running(0, ABSOLUTE_LIMIT_MS, ABSOLUTE_LIMIT_MS));
    }
}
