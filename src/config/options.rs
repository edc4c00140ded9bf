//! What people say on the command line and in the environment, each value checked by itself:
//! `Config::load` checks them together. The only place that reads the environment.

use super::values::{
    parse_disable_after, parse_keep, parse_keep_bytes, parse_low_space, parse_schedule,
};
use crate::delivery::RetrySchedule;
use clap::Args;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Which box: where its files are, and where more settings are.
#[derive(Debug, Clone, Default, Args)]
pub struct BoxOptions {
    /// Folder of the database and its key file [default: ./data]
    #[arg(long, global = true, env = "PILLARBOX_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// TOML file with the same options as keys
    #[arg(long, global = true, env = "PILLARBOX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How the box serves.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeOptions {
    /// Address and port to listen on [default: 127.0.0.1:8080]
    #[arg(long, env = "PILLARBOX_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The URL at which browsers and apps reach the box [default: http:// and the listen address]
    #[arg(long, env = "PILLARBOX_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<Url>,
    /// A private or reserved network that webhooks may be sent to, such as 127.0.0.0/8; may be repeated
    #[arg(
        long,
        env = "PILLARBOX_ALLOW_TARGET",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub allow_target: Vec<IpNet>,
    /// Send webhooks to https: URLs only
    #[arg(long, env = "PILLARBOX_REQUIRE_HTTPS")]
    pub require_https: bool,
    /// A proxy whose X-Forwarded-For names the client, such as 127.0.0.1/32; may be repeated
    #[arg(
        long,
        env = "PILLARBOX_TRUSTED_PROXY",
        value_name = "CIDR",
        value_delimiter = ','
    )]
    pub trusted_proxy: Vec<IpNet>,
    /// Let people sign in over plain http on more than this machine; passwords then travel readable
    #[arg(long, env = "PILLARBOX_INSECURE_HTTP")]
    pub insecure_http: bool,
    /// Delays before each attempt, with commas [default: 0s,5s,5m,30m,2h,5h,10h,14h,20h,24h]
    #[arg(long, env = "PILLARBOX_RETRY_SCHEDULE", value_name = "DELAYS", value_parser = parse_schedule)]
    pub retry_schedule: Option<RetrySchedule>,
    /// How long a webhook may fail before it is disabled, such as 5d or never [default: 5d]
    #[arg(long, env = "PILLARBOX_DISABLE_AFTER", value_name = "TIME", value_parser = parse_disable_after)]
    pub disable_after: Option<Duration>,
    /// How long events are kept, such as 90d or forever [default: 90d]
    #[arg(long, env = "PILLARBOX_KEEP_EVENTS", value_name = "TIME", value_parser = parse_keep)]
    pub keep_events: Option<Duration>,
    /// How long settled deliveries are kept, with their attempts [default: 30d]
    #[arg(long, env = "PILLARBOX_KEEP_DELIVERIES", value_name = "TIME", value_parser = parse_keep)]
    pub keep_deliveries: Option<Duration>,
    /// What the file may hold, such as 20GB; the oldest events go when it is more [default: no limit]
    #[arg(long, env = "PILLARBOX_KEEP_BYTES", value_name = "SIZE", value_parser = parse_keep_bytes)]
    pub keep_bytes: Option<u64>,
    /// Webhooks that ask for system.storage_low are told when the disk has less room left; none for never [default: 1GiB]
    #[arg(long, env = "PILLARBOX_LOW_SPACE", value_name = "SIZE", value_parser = parse_low_space)]
    pub low_space: Option<u64>,
    /// What is logged, such as warn or pillarbox=debug [default: warn,pillarbox=info]
    #[arg(long, env = "PILLARBOX_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

impl ServeOptions {
    /// These options where they are set, `other`'s elsewhere.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            public_url: self.public_url.or(other.public_url),
            allow_target: if self.allow_target.is_empty() {
                other.allow_target
            } else {
                self.allow_target
            },
            trusted_proxy: if self.trusted_proxy.is_empty() {
                other.trusted_proxy
            } else {
                self.trusted_proxy
            },
            require_https: self.require_https || other.require_https,
            insecure_http: self.insecure_http || other.insecure_http,
            retry_schedule: self.retry_schedule.or(other.retry_schedule),
            disable_after: self.disable_after.or(other.disable_after),
            keep_events: self.keep_events.or(other.keep_events),
            keep_deliveries: self.keep_deliveries.or(other.keep_deliveries),
            keep_bytes: self.keep_bytes.or(other.keep_bytes),
            low_space: self.low_space.or(other.low_space),
            log: self.log.or(other.log),
        }
    }
}
