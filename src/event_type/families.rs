//! The families of event types that every workspace knows beforehand: Jimo's experience events, the kinds without
//! a name, and what the box itself says (webhooks.md, "Event types"). Pure.

/// Types that belong together.
#[derive(Debug)]
pub struct Family {
    /// What it is called.
    pub title: &'static str,
    /// The pattern with which a webhook gets all of it, where there is one.
    pub pattern: Option<&'static str>,
    /// What it is about.
    pub about: &'static str,
    /// The types and what each means.
    pub types: &'static [(&'static str, &'static str)],
}

/// The families that every workspace knows.
pub const FAMILIES: [Family; 11] = [
    Family {
        title: "Kinds without a name",
        pattern: None,
        about: "Events that are not tracked under a name of their own",
        types: &[
            ("identify", "Something is known of a person"),
            ("page", "A page was seen"),
            ("screen", "A screen was seen"),
            ("group", "Something is known of an account"),
            ("alias", "Two ids are one"),
        ],
    },
    Family {
        title: "Tours",
        pattern: Some("tour.*"),
        about: "Product tours",
        types: &[
            ("tour.created", "A tour was created"),
            ("tour.published", "A tour was published"),
            ("tour.deleted", "A tour was deleted"),
            ("tour.status-changed", "A tour has another status"),
            ("tour.started", "Somebody began a tour"),
            ("tour.completed", "Somebody finished a tour"),
        ],
    },
    Family {
        title: "Surveys",
        pattern: Some("survey.*"),
        about: "Surveys and their answers",
        types: &[
            ("survey.created", "A survey was created"),
            ("survey.published", "A survey was published"),
            ("survey.deleted", "A survey was deleted"),
            ("survey.status-changed", "A survey has another status"),
            ("survey.started", "Somebody began a survey"),
            ("survey.completed", "Somebody finished a survey"),
            (
                "survey.step.answered",
                "Somebody answered a step of a survey",
            ),
        ],
    },
    Family {
        title: "Checklists",
        pattern: Some("checklist.*"),
        about: "Checklists and their tasks",
        types: &[
            ("checklist.created", "A checklist was created"),
            ("checklist.published", "A checklist was published"),
            ("checklist.deleted", "A checklist was deleted"),
            ("checklist.status-changed", "A checklist has another status"),
            ("checklist.started", "Somebody began a checklist"),
            ("checklist.completed", "Somebody finished a checklist"),
            ("checklist.dismissed", "Somebody dismissed a checklist"),
            (
                "checklist.task.completed",
                "Somebody finished a task of a checklist",
            ),
            (
                "checklist.task.skipped",
                "Somebody skipped a task of a checklist",
            ),
        ],
    },
    Family {
        title: "Hints",
        pattern: Some("hint.*"),
        about: "Hints beside a product's own elements",
        types: &[
            ("hint.created", "A hint was created"),
            ("hint.published", "A hint was published"),
            ("hint.deleted", "A hint was deleted"),
            ("hint.status-changed", "A hint has another status"),
            ("hint.seen", "Somebody saw a hint"),
        ],
    },
    Family {
        title: "Banners",
        pattern: Some("banner.*"),
        about: "Banners on a product's pages",
        types: &[
            ("banner.created", "A banner was created"),
            ("banner.published", "A banner was published"),
            ("banner.deleted", "A banner was deleted"),
            ("banner.status-changed", "A banner has another status"),
            ("banner.seen", "Somebody saw a banner"),
        ],
    },
    Family {
        title: "Posts",
        pattern: Some("post.*"),
        about: "Posts and what readers do with them",
        types: &[
            ("post.created", "A post was created"),
            ("post.published", "A post was published"),
            ("post.deleted", "A post was deleted"),
            ("post.liked", "Somebody liked a post"),
            ("post.commented", "Somebody commented on a post"),
        ],
    },
    Family {
        title: "Profiles",
        pattern: Some("profile.*"),
        about: "What the box finds out about people and accounts; sent by the box alone",
        types: &[
            (
                "profile.created",
                "A person or account was seen for the first time",
            ),
            (
                "profile.updated",
                "An event changed a profile's traits or identifiers",
            ),
            ("profile.merged", "Two profiles turned out to be one"),
            (
                "profile.stage_changed",
                "A profile came to another stage of a funnel",
            ),
        ],
    },
    Family {
        title: "Customers",
        pattern: Some("customer.*"),
        about: "Billing; sent by the box alone",
        types: &[(
            "customer.subscription_changed",
            "A customer's subscription began, changed or ended",
        )],
    },
    Family {
        title: "Management",
        pattern: Some("admin.*"),
        about: "What people change in the workspace; sent by the box alone",
        types: &[
            ("admin.webhook.created", "A webhook was created"),
            ("admin.webhook.updated", "A webhook was changed"),
            (
                "admin.webhook.key_rotated",
                "A webhook signs with another key",
            ),
            (
                "admin.webhook.overlap_ended",
                "A webhook no longer signs with its former key as well",
            ),
            (
                "admin.webhook.secret_revealed",
                "Somebody looked at a webhook's signing secret",
            ),
            ("admin.webhook.paused", "A webhook was paused"),
            ("admin.webhook.activated", "A webhook sends again"),
            ("admin.webhook.deleted", "A webhook was deleted"),
            ("admin.webhook.tested", "A test was sent to a webhook"),
            (
                "admin.delivery.retried",
                "Somebody asked for another attempt",
            ),
            (
                "admin.delivery.cancelled",
                "A delivery that waited was given up",
            ),
            (
                "admin.delivery.expunged",
                "What a delivery carried was taken out of the file",
            ),
            ("admin.event.resent", "An event was sent again"),
            (
                "admin.event.expunged",
                "What an event said was taken out of the file",
            ),
            ("admin.replay.created", "A replay was made"),
            (
                "admin.replay.started",
                "A replay was started, for the first time or again",
            ),
            ("admin.replay.paused", "A replay was paused"),
            ("admin.replay.cancelled", "A replay was given up"),
            ("admin.api_key.created", "An API key was created"),
            ("admin.api_key.revoked", "An API key was revoked"),
            ("admin.source.created", "A source was created"),
            ("admin.source.updated", "A source was changed"),
            (
                "admin.source.stripe_secret_set",
                "A source has another secret of Stripe's",
            ),
            (
                "admin.source.identity_secret_rotated",
                "A source has another identity secret",
            ),
            (
                "admin.member.added",
                "Somebody became a member, or has another role",
            ),
            ("admin.event_type.declared", "An event type was declared"),
            (
                "admin.event_type.updated",
                "What is declared of an event type was changed",
            ),
            (
                "admin.event_type.removed",
                "What was declared of an event type was removed",
            ),
            ("admin.funnel.created", "A funnel was created"),
            ("admin.funnel.updated", "A funnel was changed"),
            (
                "admin.profile.merge_undo_requested",
                "Somebody asked for two profiles to be taken apart",
            ),
            ("admin.workspace.renamed", "The workspace has another name"),
            (
                "admin.workspace.mau_limit_set",
                "The workspace has another limit of active users",
            ),
        ],
    },
    Family {
        title: "System",
        pattern: Some("system.*"),
        about: "What the box itself has to say; sent by the box alone",
        types: &[
            (
                "system.mau_limit_near",
                "Four fifths of the month's active users are reached",
            ),
            (
                "system.mau_limit_reached",
                "The month's active users are reached",
            ),
            (
                "system.webhook_failing",
                "A webhook's fourth attempt in a row failed",
            ),
            ("system.webhook_disabled", "The box stopped a webhook"),
            ("system.delivery_exhausted", "A delivery failed for good"),
            ("system.storage_low", "The disk has little room left"),
        ],
    },
];

/// What a type of the families means.
pub fn builtin_description(name: &str) -> Option<&'static str> {
    FAMILIES
        .iter()
        .flat_map(|family| family.types)
        .find(|(known, _)| *known == name)
        .map(|(_, about)| *about)
}

/// The type of the message that says of a change, which the audit calls `action`; `None` where webhooks are not
/// told: it concerns the whole box.
pub fn admin_type(action: &str) -> Option<&'static str> {
    FAMILIES
        .iter()
        .flat_map(|family| family.types)
        .map(|(known, _)| *known)
        .find(|known| known.strip_prefix("admin.") == Some(action))
}
