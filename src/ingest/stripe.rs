//! Stripe's events: `POST /in/stripe/{source}` (wire.md, "Stripe"). Owns how Stripe signs, the shape on the
//! wire and who an object is about. What an event means for a subscription is `billing`'s to say, and
//! that a type means nothing there is no reason to refuse it: Stripe would send it again for days.

use super::fields::{Refused, given};
use super::rejects::{Endpoint, Rejects, Watch};
use super::request::{Bodies, Sender};
use crate::accept::{Acceptance, Acceptor, at_root};
use crate::billing::stripe::{PREFIX, essentials, reference};
use crate::error::{Error, Kind, Result};
use crate::event::{Credential, EventKind, FieldNames, Identifiers, RawEvent, Verification};
use crate::id::SourceId;
use crate::json;
use crate::normalize::{MAX_EVENT_BYTES, MAX_IDENTIFIER_BYTES, normalize};
use crate::secret::SecretBytes;
use crate::signature::is_hex_hmac;
use crate::store::catalog::{Catalog, CatalogHandle};
use crate::store::rejects::Resend;
use crate::time::now_ms;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// A body has at most this many bytes: an event with an object that is too large to keep whole, too.
const MAX_BODY_BYTES: usize = 256 * 1_024;
/// A signature may be this old, and by a clock that is ahead of ours this far in the future.
const TOLERANCE_S: i64 = 300;
/// What an event's name, identifiers and key may take of an event's text beside object and context.
const ROOM_BYTES: usize = 4 * 1_024;
/// The first second that is no time.
const END_OF_9999_S: i64 = 253_402_300_800;
/// One for each secret that works at the same time. Each costs a hash of the body, and whoever knows the
/// address can ask for it.
const MAX_SIGNATURES: usize = 8;
const SIGNATURE: &str = "stripe-signature";

const NAMES: FieldNames = FieldNames {
    kind: "object",
    name: "type",
    user_id: "data/object/client_reference_id",
    visitor_id: "data/object/client_reference_id",
    email: "data/object/email",
    customer_id: "data/object/customer",
    group_id: "data/object/group",
    dedup_key: "id",
};

#[derive(Serialize)]
struct Answer {
    received: bool,
}

/// Takes one event; answers after it is on disk. An event that is in the log already is as good as
/// taken, so it gets the same answer and Stripe stops sending it.
pub(super) async fn receive(
    request: HttpRequest,
    source: web::Path<String>,
    payload: web::Payload,
    bodies: web::Data<Bodies>,
    catalog: web::Data<CatalogHandle>,
    acceptor: web::Data<Acceptor>,
    rejects: web::Data<Rejects>,
) -> Result<HttpResponse> {
    let received_at_ms = now_ms();
    let (credential, secret) = endpoint(&catalog.current(), &source)?;
    let signature = Signature::of(&request)?;
    let body = bodies
        .within(&request, payload, MAX_BODY_BYTES, Sender::Stranger)
        .await?;
    signature.check(&secret, &body, received_at_ms.div_euclid(1_000))?;
    // What was not signed by Stripe is nobody's that is known, and is not kept.
    let endpoint = Endpoint::without_command(format!("/in/stripe/{source}"), Resend::Stripe);
    let mut watch = rejects.watch(endpoint, credential, received_at_ms);
    let answer = take(&body, &credential, received_at_ms, &acceptor, &mut watch).await;
    watch.finish(&answer);
    answer
}

/// Takes a body that Stripe signed.
async fn take(
    body: &[u8],
    credential: &Credential,
    received_at_ms: i64,
    acceptor: &Acceptor,
    watch: &mut Watch<'_>,
) -> Result<HttpResponse> {
    let event = watch.read(body, |body| {
        normalize(parse(json::check(body)?)?, credential, received_at_ms)
    })?;
    let key = event.dedup_key.clone();
    let accepted = acceptor.accept(vec![event], at_root).await?;
    if let Some(Acceptance::Conflict(earlier)) = accepted.first() {
        let key = key.as_deref().unwrap_or_default();
        tracing::warn!(key, %earlier, "an event from Stripe says other things than the one stored under its id; it is not stored");
    }
    Ok(HttpResponse::Ok().json(Answer { received: true }))
}

/// The source that an address names, and what Stripe signs with for it. Whether there is no such source
/// or only no secret is not said: neither has been proven to be the caller's to know.
fn endpoint(catalog: &Catalog, id: &str) -> Result<(Credential, SecretBytes)> {
    let source = id
        .parse::<SourceId>()
        .ok()
        .and_then(|id| catalog.source(id));
    let known = source.and_then(|source| Some((source, source.stripe_secret.clone()?)));
    let (source, secret) = known.ok_or_else(|| {
        Error::new(
            Kind::Unauthorized,
            "unknown_endpoint",
            "No source with this id takes events from Stripe; nothing was stored. Copy the address from the Sources page, and put the endpoint's signing secret (whsec_…) there.",
        )
    })?;
    let credential = Credential {
        workspace: source.workspace,
        source: Some(source.id),
        key: None,
        verification: Verification::Billing,
        customers_are_accounts: source.customers_are_accounts,
    };
    Ok((credential, secret))
}

// SIGNATURE ---------------------------------------------------------------------------------

/// What the header claims: `t=…,v1=…`, with a `v1` for each secret while one is being replaced.
struct Signature {
    timestamp: String,
    timestamp_s: i64,
    v1: Vec<String>,
}

impl Signature {
    fn of(request: &HttpRequest) -> Result<Self> {
        let header = request.headers().get(SIGNATURE).ok_or_else(|| {
            Error::new(
                Kind::Unauthorized,
                "missing_signature",
                "The Stripe-Signature header is missing; nothing was stored. This address takes only what Stripe sends and signs.",
            )
        })?;
        let signature = header.to_str().ok().and_then(Self::parse);
        signature.ok_or_else(|| {
            Error::new(
                Kind::Malformed,
                "invalid_signature_header",
                "The Stripe-Signature header must read t=SECONDS,v1=HEX; nothing was stored.",
            )
        })
    }

    /// Schemes other than `v1`, and parts that are none, may stand beside it and prove nothing.
    fn parse(header: &str) -> Option<Self> {
        let mut timestamp = None;
        let mut v1 = Vec::new();
        for part in header.split(',') {
            let Some(pair) = part.trim().split_once('=') else {
                continue;
            };
            match pair {
                ("t", seconds) if timestamp.is_none() => timestamp = Some(seconds.to_owned()),
                ("t", _) => return None,
                ("v1", hex) if v1.len() < MAX_SIGNATURES => v1.push(hex.to_owned()),
                ("v1", _) => return None,
                _ => {}
            }
        }
        let timestamp = timestamp?;
        let is_plain = timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let timestamp_s = timestamp.parse().ok().filter(|_| is_plain)?;
        (!v1.is_empty()).then_some(Self {
            timestamp,
            timestamp_s,
            v1,
        })
    }

    /// The signature goes first: only who can sign is told what the box's clock says.
    fn check(&self, secret: &SecretBytes, body: &[u8], now_s: i64) -> Result<()> {
        let signed = [self.timestamp.as_bytes(), b".", body];
        let is_right = |hex: &String| is_hex_hmac(secret.as_bytes(), &signed, hex);
        if !self.v1.iter().any(is_right) {
            return Err(Error::new(
                Kind::Unauthorized,
                "invalid_signature",
                "No v1 signature in Stripe-Signature is right for this body; nothing was stored. Compare the endpoint's signing secret in Stripe with the source's on the Sources page, and pass the body on unchanged.",
            ));
        }
        let age_s = now_s.saturating_sub(self.timestamp_s);
        let (code, what) = if age_s > TOLERANCE_S {
            ("signature_too_old", "before")
        } else if age_s < -TOLERANCE_S {
            ("signature_in_future", "after")
        } else {
            return Ok(());
        };
        Err(Error::new(
            Kind::Unauthorized,
            code,
            format!(
                "This was signed at {}, more than {TOLERANCE_S} seconds {what} the box's clock, {now_s}; nothing was stored. Set the box's clock, and have Stripe send the event again: it signs anew.",
                self.timestamp_s
            ),
        ))
    }
}

// EVENTS ------------------------------------------------------------------------------------

/// The fields as raw JSON, so that each can be refused by name. Unknown ones are ignored.
#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    r#type: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    api_version: Option<&'a RawValue>,
    livemode: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireData<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    previous_attributes: Option<&'a RawValue>,
}

/// What is kept of the event around its object.
#[derive(Serialize)]
struct Context<'a> {
    stripe: Envelope<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    id: Option<&'a RawValue>,
    r#type: Option<&'a RawValue>,
    created: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    livemode: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_attributes: Option<&'a RawValue>,
}

fn parse(text: &str) -> Result<RawEvent<'_>> {
    if !text.trim_start().starts_with('{') {
        json::read::<&RawValue>(text)?;
        return Err(Error::field(
            "",
            "wrong_type",
            "The body must be one JSON object, an event of Stripe's.",
        ));
    }
    let wire: Wire<'_> = json::read(text)?;
    let mut refused = Refused::default();
    let id = refused.required_string("id", wire.id, "Stripe's id of the event");
    let kind = refused.required_string("type", wire.r#type, "what happened");
    let occurred_at_ms = created(&mut refused, wire.created);
    let data = data(&mut refused, wire.data)?;
    let whole = data
        .as_ref()
        .and_then(|data| refused.optional_object("data/object", data.object));
    let identifiers = whole.map_or_else(Identifiers::default, identifiers);
    let mut envelope = Envelope {
        id: wire.id,
        r#type: wire.r#type,
        created: wire.created,
        api_version: given(wire.api_version),
        livemode: given(wire.livemode),
        previous_attributes: data.and_then(|data| given(data.previous_attributes)),
    };
    let mut properties = whole.map(Cow::Borrowed);
    let previous_bytes = envelope
        .previous_attributes
        .map_or(0, |raw| raw.get().len());
    if whole.map_or(0, str::len) + previous_bytes > MAX_EVENT_BYTES - ROOM_BYTES {
        properties = whole.map(|object| Cow::Owned(essentials(object)));
        envelope.previous_attributes = None;
    }
    let context = serde_json::to_string(&Context { stripe: envelope });
    Ok(RawEvent {
        kind: Some(EventKind::Track),
        name: kind.map(|kind| Cow::Owned(format!("{PREFIX}{kind}"))),
        identifiers,
        properties,
        traits: None,
        context: Some(Cow::Owned(context.map_err(Error::internal)?)),
        replace_traits: false,
        customer_is_account: false,
        touch: None,
        occurred_at_ms,
        dedup_key: id,
        names: &NAMES,
        refused: refused.0,
    })
}

fn created(refused: &mut Refused, raw: Option<&RawValue>) -> Option<i64> {
    let Some(raw) = given(raw) else {
        refused.add(
            "created",
            "required",
            "created is required: when it happened, in Unix seconds.",
        );
        return None;
    };
    let seconds = json::value::<i64>(raw).filter(|seconds| (0..END_OF_9999_S).contains(seconds));
    if seconds.is_none() {
        refused.add(
            "created",
            "invalid_timestamp",
            "created must be when it happened, in whole Unix seconds.",
        );
    }
    seconds.map(|seconds| seconds.saturating_mul(1_000))
}

fn data<'a>(refused: &mut Refused, raw: Option<&'a RawValue>) -> Result<Option<WireData<'a>>> {
    const WHAT: &str =
        "with the object that it is about, as snapshot events have it; thin events are not taken";
    let Some(raw) = given(raw) else {
        refused.add("data", "required", format!("data is required: {WHAT}."));
        return Ok(None);
    };
    let Some(text) = refused.optional_object("data", Some(raw)) else {
        return Ok(None);
    };
    let data: WireData<'a> = json::read(text)?;
    if given(data.object).is_none() {
        let detail = format!("data must hold object: {WHAT}.");
        refused.add("data/object", "required", detail);
    }
    Ok(Some(data))
}

// WHOM IT IS ABOUT --------------------------------------------------------------------------

/// What says whom an object is about.
#[derive(Deserialize)]
struct WireObject<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    customer: Option<&'a RawValue>,
    client_reference_id: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    customer_details: Option<&'a RawValue>,
    customer_email: Option<&'a RawValue>,
    receipt_email: Option<&'a RawValue>,
    email: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireMetadata<'a> {
    #[serde(borrow)]
    user_id: Option<&'a RawValue>,
    #[serde(rename = "userId")]
    user_id_in_camel_case: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireCustomerDetails<'a> {
    #[serde(borrow)]
    email: Option<&'a RawValue>,
}

/// Whom the object is about. What is no identifier for the rules is left out: the event is Stripe's word
/// all the same.
fn identifiers<'a>(object: &str) -> Identifiers<Cow<'a, str>> {
    let Ok(wire) = serde_json::from_str::<WireObject<'_>>(object) else {
        return Identifiers::default();
    };
    let is_customer = text(wire.object).as_deref() == Some("customer");
    let customer_id = if is_customer {
        text(wire.id)
    } else {
        reference(wire.customer).and_then(usable)
    };
    let client_reference = text(wire.client_reference_id);
    let (visitor_id, referred_user_id) = match client_reference {
        Some(reference) if is_uuid(&reference) => (Some(reference), None),
        reference => (None, reference),
    };
    let metadata: Option<WireMetadata<'_>> = members(wire.metadata);
    let user_id = referred_user_id.or_else(|| {
        let metadata = metadata?;
        text(metadata.user_id).or_else(|| text(metadata.user_id_in_camel_case))
    });
    let details: Option<WireCustomerDetails<'_>> = members(wire.customer_details);
    let email = details
        .and_then(|details| text(details.email))
        .or_else(|| text(wire.customer_email))
        .or_else(|| text(wire.receipt_email))
        .or_else(|| text(wire.email));
    Identifiers {
        user_id: user_id.map(Cow::Owned),
        visitor_id: visitor_id.map(Cow::Owned),
        email: email.map(Cow::Owned),
        customer_id: customer_id.map(Cow::Owned),
        group_id: None,
    }
}

fn members<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn text(raw: Option<&RawValue>) -> Option<String> {
    json::value(raw?).and_then(usable)
}

fn usable(text: String) -> Option<String> {
    (!text.trim().is_empty() && text.len() <= MAX_IDENTIFIER_BYTES).then_some(text)
}

/// Whether it is written as a UUID: the browser snippet's visitor ids are.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
