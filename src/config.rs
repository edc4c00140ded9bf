//! The box's settings, checked together, with every limit's name and default. They come from flags, the environment
//! (`PILLARBOX_…`) and a TOML file, in that order (`config/`).

mod file;
mod options;
mod values;

pub use options::{BoxOptions, ServeOptions};

use crate::dedup::DedupLimits;
use crate::deliver::attempt::DispatchLimits;
use crate::deliver::connect::ConnectRules;
use crate::deliver::connections::ConnectionRules;
use crate::deliver::sender::AttemptLimits;
use crate::delivery::RetrySchedule;
use crate::ingest;
use crate::project::{PaceLimits, ProjectLimits, WindowLimits};
use crate::retain::{Keep, SweepLimits};
use crate::space::SpaceLimits;
use crate::store::writer::WriterLimits;
use file::FileOptions;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Where the file lies unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "./data";
/// Where the box listens unless told otherwise: this machine only.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// What is logged unless told otherwise: the box's own words, and libraries' warnings.
const DEFAULT_LOG: &str = "warn,pillarbox=info";

/// Jobs that may wait for the writer; one more is answered 503.
const WRITER_QUEUE: usize = 8_192;
/// Bytes of events that may wait for the writer together; more is answered 503.
const WRITER_QUEUE_BYTES: usize = 64 * 1_024 * 1_024;
/// Events in one transaction at most; a batch is never split.
const WRITER_GROUP: usize = 1_024;
/// Senders' own keys of events that are remembered; when there are more, the oldest quarter is forgotten.
const DEDUP_KEYS: usize = 7_000_000;
/// A sender's own key of an event is remembered for this long, unless there are too many.
const DEDUP_WINDOW_MS: i64 = 24 * 3_600_000;
/// A body with one event has at most this many bytes.
const EVENT_BODY_BYTES: usize = 64 * 1_024;
/// A body with many events has at most this many bytes.
const BATCH_BODY_BYTES: usize = 4 * 1_024 * 1_024;
/// Bodies larger than one event's that are in memory at once; one more waits.
const BATCH_BODIES: usize = 32;
/// A body waits for its turn at most this long, milliseconds.
const BATCH_TURN_TIMEOUT_MS: u64 = 5_000;
/// A body must be here within this time, milliseconds.
const BODY_TIMEOUT_MS: u64 = 20_000;
/// Refused requests that wait in memory to be written, in all; each holds a few KiB of its body.
const REJECTS_WAITING: usize = 1_024;
/// Those of one workspace.
const REJECTS_WAITING_OF_WORKSPACE: usize = 256;
/// Refused requests that are written in one transaction.
const REJECTS_GROUP: usize = 64;
/// How long they gather before, milliseconds: with the group, at most 640 are written a second.
const REJECTS_GATHER_MS: u64 = 100;
/// Attempts on their way, in all.
const DELIVERY_CONCURRENCY: usize = 256;
/// Attempts on their way or not yet recorded, in all: a commit of many costs little more than one.
const UNFINISHED_ATTEMPTS: usize = 1_024;
/// Bytes of deliveries that wait in memory, in all; the rest of what is owed is in the file.
const READY_BYTES: usize = 64 * 1_024 * 1_024;
/// Deliveries on their way to one webhook.
const WEBHOOK_CONCURRENCY: usize = 8;
/// A webhook whose every attempt has failed for this long is disabled, unless told otherwise
/// (webhooks.md, "Schedule").
const DISABLE_AFTER: Duration = DAY.saturating_mul(5);
/// Committed deliveries that may wait in memory for the dispatcher; the rest it reads from the file.
const FRESH_DELIVERIES: usize = 8_192;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const RESPONSE_BODY_BYTES: usize = 64 * 1_024;
const RESPONSE_HEAD_BYTES: usize = 64 * 1_024;
/// Connections kept open between two attempts, in all; as many as attempts can be on their way.
const IDLE_CONNECTIONS: usize = DELIVERY_CONCURRENCY;
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts on their way may take this long to end when the box stops (promise 13).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Events that the projector sorts and writes together at most.
const PROJECTOR_WINDOW_EVENTS: usize = 65_536;
/// Bytes of traits that it holds in memory together at most.
const PROJECTOR_WINDOW_TRAIT_BYTES: usize = 8 * 1_024 * 1_024;
/// Event types that it counts in one transaction at most.
const PROJECTOR_WINDOW_EVENT_TYPES: usize = 8_192;
/// How long it lets events gather, milliseconds: profiles follow within a second (performance.md).
const PROJECTOR_GATHER_MS: u64 = 450;
/// Timeline rows that it writes in one transaction.
const PROJECTOR_CHUNK_ROWS: usize = 1_000;
/// Its share of the writer while events arrive: a quarter, and half once it is behind.
const PROJECTOR_PACE: PaceLimits = PaceLimits {
    rest: 3,
    rest_behind: 1,
    rest_limit_ms: 250,
    behind_ms: 700,
    alarm_ms: 5_000,
    all_clear_ms: 1_000,
};

const DAY: Duration = Duration::from_secs(86_400);
/// Events are kept for this long unless told otherwise.
const KEEP_EVENTS: Duration = DAY.saturating_mul(90);
/// Settled deliveries are kept for this long unless told otherwise.
const KEEP_DELIVERIES: Duration = DAY.saturating_mul(30);
/// A slice of a sweep takes this long on the writer.
const SWEEP_SLICE: Duration = Duration::from_millis(5);
/// A slice's rest, as often as it took: the sweeper has a tenth of the writer.
const SWEEP_RESTS: u32 = 9;
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// Fewer free bytes on the data folder's disk are said to be few, unless told otherwise.
const LOW_SPACE: u64 = 1_024 * 1_024 * 1_024;
/// So many times that are enough again.
const ENOUGH_SPACE: u64 = 2;

/// Everything that serving needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the database and its key file.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where browsers and apps reach the box; `None` follows the address that was bound.
    pub public_url: Option<Url>,
    /// Private networks that webhooks may be sent to.
    pub allow_target: Vec<IpNet>,
    /// Whether webhooks are sent to https: URLs only.
    pub require_https: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxy: Vec<IpNet>,
    /// Whether people may sign in over plain http on more than this machine.
    pub insecure_http: bool,
    /// When failed deliveries are tried again.
    pub retry_schedule: RetrySchedule,
    /// How long a webhook may fail before it is disabled.
    pub disable_after: Duration,
    /// How long events are kept.
    pub keep_events: Duration,
    /// How long settled deliveries are kept.
    pub keep_deliveries: Duration,
    /// How many bytes the file may hold.
    pub keep_bytes: u64,
    /// Fewer free bytes on the disk are said to be few.
    pub low_space: u64,
    /// What is logged.
    pub log: String,
}

impl Config {
    /// The settings of a server: flags win over environment over file.
    ///
    /// # Errors
    /// When the file cannot be read, or holds a word or value that no option has.
    pub fn load(which: &BoxOptions, options: ServeOptions) -> anyhow::Result<Self> {
        let mut file = FileOptions::read(which.config.as_deref())?;
        let data_dir = which.data_dir.clone().or(file.data_dir.take());
        let options = options.or(file.serve_options()?);
        let listen = match options.listen {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse()?,
        };
        Ok(Self {
            data_dir: data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            listen,
            public_url: options.public_url.map(checked_public_url).transpose()?,
            allow_target: options.allow_target,
            require_https: options.require_https,
            trusted_proxy: options.trusted_proxy,
            insecure_http: options.insecure_http,
            retry_schedule: options.retry_schedule.unwrap_or_default(),
            disable_after: options.disable_after.unwrap_or(DISABLE_AFTER),
            keep_events: options.keep_events.unwrap_or(KEEP_EVENTS),
            keep_deliveries: options.keep_deliveries.unwrap_or(KEEP_DELIVERIES),
            keep_bytes: options.keep_bytes.unwrap_or(u64::MAX),
            low_space: options.low_space.unwrap_or(LOW_SPACE),
            log: options.log.unwrap_or_else(|| DEFAULT_LOG.to_owned()),
        })
    }

    /// Where a command's box lies.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn data_dir(which: &BoxOptions) -> anyhow::Result<PathBuf> {
        Ok(Self::load(which, ServeOptions::default())?.data_dir)
    }

    /// The bounds of the writer.
    pub fn writer_limits(&self) -> WriterLimits {
        WriterLimits {
            queue: WRITER_QUEUE,
            queue_bytes: WRITER_QUEUE_BYTES,
            group: WRITER_GROUP,
        }
    }

    /// The bounds of the way in.
    pub fn ingest_limits(&self) -> ingest::Limits {
        ingest::Limits {
            event_body_bytes: EVENT_BODY_BYTES,
            batch_body_bytes: BATCH_BODY_BYTES,
            batch_bodies: BATCH_BODIES,
            batch_turn_timeout_ms: BATCH_TURN_TIMEOUT_MS,
            body_timeout_ms: BODY_TIMEOUT_MS,
        }
    }

    /// The bounds of keeping refused requests.
    pub fn reject_limits(&self) -> ingest::RejectLimits {
        ingest::RejectLimits {
            waiting: REJECTS_WAITING,
            waiting_of_workspace: REJECTS_WAITING_OF_WORKSPACE,
            group: REJECTS_GROUP,
            gather_ms: REJECTS_GATHER_MS,
        }
    }

    /// The bounds of remembering senders' keys.
    pub fn dedup_limits(&self) -> DedupLimits {
        DedupLimits {
            keys: DEDUP_KEYS,
            window_ms: DEDUP_WINDOW_MS,
        }
    }

    /// Committed deliveries that may wait in memory.
    pub fn fresh_deliveries(&self) -> usize {
        FRESH_DELIVERIES
    }

    /// The bounds of sending.
    pub fn dispatch_limits(&self) -> DispatchLimits {
        DispatchLimits {
            concurrency: DELIVERY_CONCURRENCY,
            unfinished: UNFINISHED_ATTEMPTS,
            ready_bytes: READY_BYTES,
            webhook_concurrency: WEBHOOK_CONCURRENCY,
            schedule: self.retry_schedule.clone().into(),
            disable_after_ms: milliseconds(self.disable_after),
            attempt: AttemptLimits {
                total_timeout: ATTEMPT_TIMEOUT,
                response_body_bytes: RESPONSE_BODY_BYTES,
            },
            drain_timeout: DRAIN_TIMEOUT,
        }
    }

    /// Where connections may go, and what they may cost.
    pub fn connection_rules(&self) -> ConnectionRules {
        ConnectionRules {
            connect: ConnectRules {
                timeout: CONNECT_TIMEOUT,
                allowed: self.allow_target.clone().into(),
                requires_https: self.require_https,
            },
            idle: IDLE_CONNECTIONS,
            idle_timeout: IDLE_CONNECTION_TIMEOUT,
            response_head_bytes: RESPONSE_HEAD_BYTES,
        }
    }

    /// How long things are kept.
    pub fn keep(&self) -> Keep {
        Keep {
            events_ms: milliseconds(self.keep_events),
            deliveries_ms: milliseconds(self.keep_deliveries),
            bytes: i64::try_from(self.keep_bytes).unwrap_or(i64::MAX),
        }
    }

    /// When the room on the disk is little, and when it is enough again.
    pub fn space_limits(&self) -> SpaceLimits {
        SpaceLimits {
            low_bytes: self.low_space,
            enough_bytes: self.low_space.saturating_mul(ENOUGH_SPACE),
        }
    }

    /// The bounds of sweeping.
    pub fn sweep_limits(&self) -> SweepLimits {
        SweepLimits {
            keep: self.keep(),
            slice: SWEEP_SLICE,
            rests: SWEEP_RESTS,
            every: SWEEP_EVERY,
        }
    }

    /// The bounds of projecting.
    pub fn project_limits(&self) -> ProjectLimits {
        ProjectLimits {
            window: WindowLimits {
                events: PROJECTOR_WINDOW_EVENTS,
                trait_bytes: PROJECTOR_WINDOW_TRAIT_BYTES,
                event_types: PROJECTOR_WINDOW_EVENT_TYPES,
            },
            gather_ms: PROJECTOR_GATHER_MS,
            chunk_rows: PROJECTOR_CHUNK_ROWS,
            pace: PROJECTOR_PACE,
        }
    }
}

/// Milliseconds for counting back from now: `forever` reaches behind every clock, and not so far that
/// counting goes wrong.
fn milliseconds(keep: Duration) -> i64 {
    i64::try_from(keep.as_millis())
        .unwrap_or(i64::MAX)
        .min(i64::MAX / 4)
}

fn checked_public_url(mut url: Url) -> anyhow::Result<Url> {
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https") && url.has_host(),
        "--public-url {url}: it must begin with http:// or https:// and name a host"
    );
    anyhow::ensure!(
        url.path() == "/" && url.query().is_none(),
        "--public-url {url}: the box serves from the root of a host, so leave the path out"
    );
    url.set_fragment(None);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn load(text: &str, options: ServeOptions) -> anyhow::Result<Config> {
        let file = file(text);
        Config::load(
            &BoxOptions {
                data_dir: None,
                config: Some(file.path().into()),
            },
            options,
        )
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "listen = \"127.0.0.1:1\"\ndata-dir = \"/x\"\nretry-schedule = \"0s,1s\"";
        let flags = ServeOptions {
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..ServeOptions::default()
        };
        let config = load(text, flags).unwrap();
        assert_eq!(
            (config.listen.port(), config.data_dir.to_str()),
            (2, Some("/x"))
        );
        assert_eq!(config.retry_schedule.attempts(), 2);
    }

    #[test]
    fn https_is_required_by_the_flag_or_by_the_file() {
        let requires = |text, flag| {
            let flags = ServeOptions {
                require_https: flag,
                ..ServeOptions::default()
            };
            let config = load(text, flags).unwrap();
            config.connection_rules().connect.requires_https
        };
        assert!(!requires("", false));
        assert!(requires("", true));
        assert!(requires("require-https = true", false));
        assert!(requires("require_https = true", false));
        assert!(requires("require-https = false", true));
    }

    #[test]
    fn what_is_kept_is_said_in_times_and_sizes() {
        let keep = |text| load(text, ServeOptions::default()).map(|config| config.keep());
        let default = keep("").unwrap();
        let day_ms = 86_400_000;
        assert_eq!(
            (default.events_ms, default.deliveries_ms, default.bytes),
            (90 * day_ms, 30 * day_ms, i64::MAX)
        );
        let text = "keep-events = \"1d\"\nkeep-deliveries = \"forever\"\nkeep_bytes = \"20 GB\"";
        let said = keep(text).unwrap();
        assert_eq!((said.events_ms, said.bytes), (day_ms, 20_000_000_000));
        assert!(said.deliveries_ms > 1_000_000 * day_ms);
    }

    #[test]
    fn a_webhook_is_disabled_after_five_days_or_as_told() {
        let after_ms = |text| {
            load(text, ServeOptions::default())
                .map(|config| config.dispatch_limits().disable_after_ms)
        };
        assert_eq!(after_ms("").unwrap(), 5 * 86_400_000);
        assert_eq!(after_ms("disable-after = \"90s\"").unwrap(), 90_000);
        assert!(after_ms("disable_after = \"never\"").unwrap() > 1_000_000 * 86_400_000);
    }

    #[test]
    fn a_word_that_no_option_has_is_refused() {
        assert!(load("lisen = \"127.0.0.1:1\"", ServeOptions::default()).is_err());
        assert!(
            load(
                "public-url = \"https://x.example/sub\"",
                ServeOptions::default()
            )
            .is_err()
        );
    }
}
