//! What the pages must know of how the box was started. Data only; `config` reads it.

/// How the box is reached, and what its operator allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The address that people and apps use; ends with a slash.
    pub public_url: url::Url,
    /// Whether passwords may travel without TLS to anything but this machine.
    pub insecure_http: bool,
    /// Whether the box listens on more than this machine's own addresses.
    pub listens_on_network: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Networks that webhooks may reach although they are private.
    pub allowed_targets: Vec<ipnet::IpNet>,
    /// Whether webhooks may be sent to https: URLs only.
    pub requires_https: bool,
    /// Automatic attempts that the schedule gives a delivery.
    pub attempts: usize,
    /// Settled deliveries are kept for this long, milliseconds.
    pub keep_deliveries_ms: i64,
}

impl Settings {
    /// Whether people reach the box under TLS.
    pub(super) fn is_https(&self) -> bool {
        self.public_url.scheme() == "https"
    }

    /// Whether a password would travel in the clear beyond this machine.
    pub(super) fn exposes_passwords(&self) -> bool {
        let is_local = match self.public_url.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        !self.is_https() && (self.listens_on_network || !is_local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_on_this_machine_or_under_tls() {
        let judge = |public_url: &str, listens_on_network| {
            Settings {
                public_url: public_url.parse().unwrap(),
                insecure_http: false,
                listens_on_network,
                trusted_proxies: Vec::new(),
                allowed_targets: Vec::new(),
                requires_https: false,
                attempts: 10,
                keep_deliveries_ms: 1,
            }
            .exposes_passwords()
        };
        let exposes = |public_url| judge(public_url, false);
        assert!(judge("http://127.0.0.1:8080/", true));
        assert!(!judge("https://box.example.com/", true));
        assert!(!exposes("https://box.example.com/"));
        assert!(!exposes("http://127.0.0.1:8080/"));
        assert!(!exposes("http://[::1]:8080/"));
        assert!(!exposes("http://localhost:8080/"));
        assert!(exposes("http://box.example.com/"));
        assert!(exposes("http://192.168.1.2:8080/"));
    }
}
