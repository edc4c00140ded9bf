//! Public ids: a prefix and a base32 Snowflake over a 64-bit integer primary key, so that time
//! order is key order. Owns the layout and the generator; must not read the clock.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2024-01-01T00:00:00Z in Unix milliseconds: 41 bits from here last until 2093.
pub const EPOCH_MS: i64 = 1_704_067_200_000;
const NODE_BITS: u32 = 10;
const SEQUENCE_BITS: u32 = 12;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// The highest node number that fits.
pub const NODE_MAX: u16 = (1 << NODE_BITS) - 1;
/// The bits of an id that tell which process made it: none is set in the server's own.
pub const NODE_MASK: i64 = ((1 << NODE_BITS) - 1) << SEQUENCE_BITS;
/// Statements of `store/` have it as a number.
const _: () = assert!(NODE_MASK == 4_190_208);
/// Characters behind the prefix: 13 of 5 bits hold 64.
const TEXT_LEN: usize = 13;
/// Crockford's alphabet in lower case: no i, l, o or u to misread.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A family of ids: what stands before the underscore.
pub trait Prefix {
    /// The prefix without its underscore.
    const PREFIX: &'static str;
}

/// An id of one family. In the file it is the integer, everywhere else the text.
pub struct Id<P>(i64, PhantomData<fn() -> P>);

/// The families, as empty types.
pub mod family {
    use super::Prefix;

    /// Declares nothing but the prefix of each family.
    #[derive(Debug)]
    pub enum Workspace {}
    /// A site or app that sends.
    #[derive(Debug)]
    pub enum Source {}
    /// An API key.
    #[derive(Debug)]
    pub enum ApiKey {}
    /// A person who signs in.
    #[derive(Debug)]
    pub enum User {}
    /// An event.
    #[derive(Debug)]
    pub enum Event {}
    /// A profile.
    #[derive(Debug)]
    pub enum Profile {}
    /// A webhook.
    #[derive(Debug)]
    pub enum Webhook {}
    /// A message.
    #[derive(Debug)]
    pub enum Message {}
    /// A delivery.
    #[derive(Debug)]
    pub enum Delivery {}
    /// An attempt.
    #[derive(Debug)]
    pub enum Attempt {}
    /// An audit entry.
    #[derive(Debug)]
    pub enum Audit {}
    /// Two profiles that an event named as one.
    #[derive(Debug)]
    pub enum Merge {}
    /// A funnel.
    #[derive(Debug)]
    pub enum Funnel {}
    /// A refused request.
    #[derive(Debug)]
    pub enum Reject {}
    /// Deliveries that are sent once more.
    #[derive(Debug)]
    pub enum Replay {}

    impl Prefix for Workspace {
        const PREFIX: &'static str = "ws";
    }
    impl Prefix for Source {
        const PREFIX: &'static str = "src";
    }
    impl Prefix for ApiKey {
        const PREFIX: &'static str = "key";
    }
    impl Prefix for User {
        const PREFIX: &'static str = "usr";
    }
    impl Prefix for Event {
        const PREFIX: &'static str = "evt";
    }
    impl Prefix for Profile {
        const PREFIX: &'static str = "prf";
    }
    impl Prefix for Webhook {
        const PREFIX: &'static str = "whk";
    }
    impl Prefix for Message {
        const PREFIX: &'static str = "msg";
    }
    impl Prefix for Delivery {
        const PREFIX: &'static str = "dlv";
    }
    impl Prefix for Attempt {
        const PREFIX: &'static str = "att";
    }
    impl Prefix for Audit {
        const PREFIX: &'static str = "aud";
    }
    impl Prefix for Merge {
        const PREFIX: &'static str = "mrg";
    }
    impl Prefix for Funnel {
        const PREFIX: &'static str = "fnl";
    }
    impl Prefix for Reject {
        const PREFIX: &'static str = "rej";
    }
    impl Prefix for Replay {
        const PREFIX: &'static str = "rpl";
    }
}

/// `ws_…`
pub type WorkspaceId = Id<family::Workspace>;
/// `src_…`
pub type SourceId = Id<family::Source>;
/// `key_…`
pub type ApiKeyId = Id<family::ApiKey>;
/// `usr_…`
pub type UserId = Id<family::User>;
/// `evt_…`
pub type EventId = Id<family::Event>;
/// `prf_…`
pub type ProfileId = Id<family::Profile>;
/// `whk_…`
pub type WebhookId = Id<family::Webhook>;
/// `msg_…`
pub type MessageId = Id<family::Message>;
/// `dlv_…`
pub type DeliveryId = Id<family::Delivery>;
/// `att_…`
pub type AttemptId = Id<family::Attempt>;
/// `aud_…`
pub type AuditId = Id<family::Audit>;
/// `mrg_…`
pub type MergeId = Id<family::Merge>;
/// `fnl_…`
pub type FunnelId = Id<family::Funnel>;
/// `rej_…`
pub type RejectId = Id<family::Reject>;
/// `rpl_…`
pub type ReplayId = Id<family::Replay>;

impl<P> Id<P> {
    /// Wraps the integer that stands in the file.
    pub const fn from_i64(value: i64) -> Self {
        Self(value, PhantomData)
    }

    /// The integer that stands in the file.
    pub const fn as_i64(self) -> i64 {
        self.0
    }

    /// The lowest id that can be made at a time, in Unix milliseconds.
    pub const fn first_at(unix_ms: i64) -> Self {
        let since = unix_ms - EPOCH_MS;
        let since = if since < 0 { 0 } else { since };
        Self::from_i64(since << (NODE_BITS + SEQUENCE_BITS))
    }

    /// When the id was made, in Unix milliseconds.
    pub const fn unix_ms(self) -> i64 {
        (self.0 >> (NODE_BITS + SEQUENCE_BITS)) + EPOCH_MS
    }
}

impl<P> Clone for Id<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P> Copy for Id<P> {}
impl<P> PartialEq for Id<P> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<P> Eq for Id<P> {}
impl<P> PartialOrd for Id<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<P> Ord for Id<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<P> Hash for Id<P> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<P: Prefix> fmt::Display for Id<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; TEXT_LEN];
        let mut rest = self.0.cast_unsigned();
        for slot in text.iter_mut().rev() {
            *slot = ALPHABET[usize::try_from(rest & 31).unwrap_or(0)];
            rest >>= 5;
        }
        write!(
            f,
            "{}_{}",
            P::PREFIX,
            std::str::from_utf8(&text).unwrap_or("")
        )
    }
}

impl<P: Prefix> fmt::Debug for Id<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an id of the family that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind: expected {0}_ and 13 characters of 0-9a-z")]
pub struct ParseIdError(&'static str);

impl<P: Prefix> FromStr for Id<P> {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = ParseIdError(P::PREFIX);
        let digits = text
            .strip_prefix(P::PREFIX)
            .and_then(|rest| rest.strip_prefix('_'))
            .filter(|digits| digits.len() == TEXT_LEN)
            .ok_or(wrong)?;
        let mut value: u64 = 0;
        for byte in digits.bytes() {
            let digit = ALPHABET.iter().position(|&c| c == byte).ok_or(wrong)?;
            value = value.checked_mul(32).ok_or(wrong)? | digit as u64;
        }
        i64::try_from(value).map(Self::from_i64).map_err(|_| wrong)
    }
}

impl<P: Prefix> serde::Serialize for Id<P> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Makes ids that only ever grow, also when the clock goes back (promise 12).
#[derive(Debug)]
pub struct IdGenerator {
    node: u64,
    /// The last id without its node: milliseconds since [`EPOCH_MS`] and the sequence. Counting
    /// past the sequence's bits carries into the milliseconds, which is what keeps order when
    /// more than 4,096 ids fall into one.
    last: AtomicU64,
}

impl IdGenerator {
    /// A generator for `node` (0 to [`NODE_MAX`]) that starts above `floor`, the highest id in the file.
    pub fn new(node: u16, floor: i64) -> Self {
        let floor_ms = u64::try_from(floor >> (NODE_BITS + SEQUENCE_BITS)).unwrap_or(0);
        Self {
            node: u64::from(node.min(NODE_MAX)),
            // The floor may carry another node's bits, so the whole of its millisecond is passed over.
            last: AtomicU64::new((floor_ms << SEQUENCE_BITS) | SEQUENCE_MASK),
        }
    }

    /// The next id at `now_ms` (Unix milliseconds).
    pub fn next<P>(&self, now_ms: i64) -> Id<P> {
        let now = u64::try_from(now_ms - EPOCH_MS).unwrap_or(0) << SEQUENCE_BITS;
        let advance = |last: u64| (last + 1).max(now);
        let before = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(advance(last))
            })
            .unwrap_or_else(|last| last);
        let state = advance(before);
        let id = ((state >> SEQUENCE_BITS) << (NODE_BITS + SEQUENCE_BITS))
            | (self.node << SEQUENCE_BITS)
            | (state & SEQUENCE_MASK);
        Id::from_i64(id.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_and_integer_are_the_same_id(value in 0..=i64::MAX) {
            let id = EventId::from_i64(value);
            prop_assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
        }

        #[test]
        fn ids_only_grow_whatever_the_clock_does(
            clock in proptest::collection::vec(EPOCH_MS..EPOCH_MS + 10_000_000_000, 1..300),
            floor in 0..(1i64 << 50),
        ) {
            let generator = IdGenerator::new(3, floor);
            let mut last = floor;
            for now_ms in clock {
                let id = generator.next::<family::Event>(now_ms).as_i64();
                prop_assert!(id > last, "{} after {}", id, last);
                last = id;
            }
        }
    }

    #[test]
    fn more_than_a_sequence_in_one_millisecond_still_grows() {
        let generator = IdGenerator::new(0, 0);
        let mut last = 0;
        for _ in 0..10_000 {
            let id = generator.next::<family::Event>(EPOCH_MS + 5).as_i64();
            assert!(id > last);
            last = id;
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let id: EventId = IdGenerator::new(0, 0).next(EPOCH_MS + 123_456);
        assert_eq!(id.unix_ms(), EPOCH_MS + 123_456);
    }

    #[test]
    fn another_familys_id_and_misread_letters_are_refused() {
        let id = EventId::from_i64(42).to_string();
        assert!(id.parse::<WebhookId>().is_err());
        assert!("evt_000000000001i".parse::<EventId>().is_err());
        assert!("evt_".parse::<EventId>().is_err());
        assert!("evt_zzzzzzzzzzzzz".parse::<EventId>().is_err());
    }
}
