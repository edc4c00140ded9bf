//! What people say in the configuration file. Knows no default, and not what wins over it.

use super::options::ServeOptions;
use super::values::{
    parse_disable_after, parse_keep, parse_keep_bytes, parse_low_space, parse_schedule,
};
use anyhow::Context as _;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use url::Url;

/// The TOML file: the same words as the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FileOptions {
    #[serde(alias = "data_dir")]
    pub(super) data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    #[serde(alias = "public_url")]
    public_url: Option<Url>,
    #[serde(alias = "allow_target", default)]
    allow_target: Vec<IpNet>,
    #[serde(alias = "require_https", default)]
    require_https: bool,
    #[serde(alias = "trusted_proxy", default)]
    trusted_proxy: Vec<IpNet>,
    #[serde(alias = "insecure_http", default)]
    insecure_http: bool,
    #[serde(alias = "retry_schedule")]
    retry_schedule: Option<String>,
    #[serde(alias = "disable_after")]
    disable_after: Option<String>,
    #[serde(alias = "keep_events")]
    keep_events: Option<String>,
    #[serde(alias = "keep_deliveries")]
    keep_deliveries: Option<String>,
    #[serde(alias = "keep_bytes")]
    keep_bytes: Option<String>,
    #[serde(alias = "low_space")]
    low_space: Option<String>,
    log: Option<String>,
}

impl FileOptions {
    pub(super) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is not a pillarbox configuration", path.display()))
    }

    pub(super) fn serve_options(self) -> anyhow::Result<ServeOptions> {
        Ok(ServeOptions {
            listen: self.listen,
            public_url: self.public_url,
            allow_target: self.allow_target,
            require_https: self.require_https,
            trusted_proxy: self.trusted_proxy,
            insecure_http: self.insecure_http,
            retry_schedule: parsed("retry-schedule", self.retry_schedule, parse_schedule)?,
            disable_after: parsed("disable-after", self.disable_after, parse_disable_after)?,
            keep_events: parsed("keep-events", self.keep_events, parse_keep)?,
            keep_deliveries: parsed("keep-deliveries", self.keep_deliveries, parse_keep)?,
            keep_bytes: parsed("keep-bytes", self.keep_bytes, parse_keep_bytes)?,
            low_space: parsed("low-space", self.low_space, parse_low_space)?,
            log: self.log,
        })
    }
}

fn parsed<T>(
    name: &str,
    text: Option<String>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<Option<T>> {
    text.map(|text| parse(&text).map_err(|e| anyhow::anyhow!("{name}: {e}")))
        .transpose()
}
