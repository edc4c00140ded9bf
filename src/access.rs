//! Who may do what: the roles of members, the scopes of keys, and the words that people choose
//! for accounts and workspaces. Pure.

use crate::error::{Error, Result};

/// What a member may do in a workspace; each role may do what those after it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Looks.
    Viewer,
    /// Also works with webhooks and events.
    Member,
    /// Also keys, members and settings.
    Admin,
    /// Also deletes the workspace.
    Owner,
}

impl Role {
    /// Every role, strongest first.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    /// The word in the file, in flags and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Post events.
    WriteEvents,
    /// Post custom events through MCP.
    WriteCustomEvents,
    /// Read events.
    ReadEvents,
    /// Read webhooks and deliveries.
    ReadWebhooks,
    /// Change webhooks.
    WriteWebhooks,
    /// Everything in the workspace.
    AdminWorkspace,
}

impl Scope {
    /// Every scope, in the order in which pages and tools show them.
    pub const ALL: [Self; 6] = [
        Self::WriteEvents,
        Self::WriteCustomEvents,
        Self::ReadEvents,
        Self::ReadWebhooks,
        Self::WriteWebhooks,
        Self::AdminWorkspace,
    ];

    /// The word in the file, in flags and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WriteEvents => "write:events",
            Self::WriteCustomEvents => "write:custom_events",
            Self::ReadEvents => "read:events",
            Self::ReadWebhooks => "read:webhooks",
            Self::WriteWebhooks => "write:webhooks",
            Self::AdminWorkspace => "admin:workspace",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A name for a workspace, source, key or person has at most this many characters.
pub const MAX_NAME_CHARS: usize = 80;
const MAX_EMAIL_BYTES: usize = 254;
const MAX_SLUG_CHARS: usize = 40;

/// A trimmed, one-line name.
///
/// # Errors
/// Names the field `name`.
pub fn check_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::field("/name", "required", "Give it a name."));
    }
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        let detail = format!("A name has at most {MAX_NAME_CHARS} characters on one line.");
        return Err(Error::field("/name", "too_long", detail));
    }
    Ok(name.to_owned())
}

/// An email address in the form in which it is kept and compared.
///
/// # Errors
/// Names the field `email`.
pub fn check_email(email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let is_plausible = email.len() <= MAX_EMAIL_BYTES
        && !email.chars().any(|c| c.is_control() || c.is_whitespace())
        && email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if is_plausible {
        Ok(email)
    } else {
        Err(Error::field(
            "/email",
            "invalid_email",
            "This is not an email address; write it as name@example.com.",
        ))
    }
}

/// The slug that a workspace's name suggests: what stands in its URLs. Never empty, and never
/// something that reads as an id.
pub fn slugify(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == MAX_SLUG_CHARS {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "workspace".to_owned()
    } else {
        slug.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stronger_role_is_greater() {
        assert!(
            Role::Owner > Role::Admin && Role::Admin > Role::Member && Role::Member > Role::Viewer
        );
    }

    #[test]
    fn emails_are_plausible_and_lowered() {
        assert_eq!(
            check_email(" Jane@Example.com ").unwrap(),
            "jane@example.com"
        );
        assert_eq!(check_email("root@localhost").unwrap(), "root@localhost");
        for wrong in ["", "jane", "@x", "jane@", "a b@c", "a@b@c"] {
            assert!(check_email(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_slug_is_always_usable_in_a_url(name in "\\PC{0,60}") {
            let slug = slugify(&name);
            prop_assert!(!slug.is_empty() && slug.len() <= MAX_SLUG_CHARS);
            prop_assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert!(slug.parse::<crate::id::WorkspaceId>().is_err());
        }
    }
}
