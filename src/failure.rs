//! Why an attempt failed: the classes, and what each of them means to a person. Pure; what was met in
//! particular is said by whoever met it.

/// Why an attempt failed, as a class that can be counted, with a sentence that helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The name did not resolve.
    Dns,
    /// Nothing listens there.
    ConnectRefused,
    /// No connection within the connect timeout.
    ConnectTimeout,
    /// The connection failed in another way.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// No whole answer within the total timeout.
    Timeout,
    /// The address may not be dialled.
    BlockedAddress,
    /// The URL is not https:, and the box sends to nothing else.
    InsecureUrl,
    /// 3xx.
    Redirect,
    /// 4xx.
    Http4xx,
    /// 5xx, or a status outside the known hundreds.
    Http5xx,
    /// The answer's head is larger than the box reads.
    TooLarge,
    /// The connection broke, or what came is not HTTP.
    Protocol,
    /// The webhook's own settings cannot be sent.
    Request,
}

impl ErrorClass {
    const ALL: [Self; 14] = [
        Self::Dns,
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::BlockedAddress,
        Self::InsecureUrl,
        Self::Redirect,
        Self::Http4xx,
        Self::Http5xx,
        Self::TooLarge,
        Self::Protocol,
        Self::Request,
    ];

    /// The word in the file and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::BlockedAddress => "blocked_address",
            Self::InsecureUrl => "insecure_url",
            Self::Redirect => "redirect",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::Request => "request",
        }
    }

    /// The class of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }

    /// What it means and what to try where the receiver answered with `status`: some say more than their class.
    pub fn explain(self, status: Option<u16>) -> &'static str {
        match (self, status) {
            (Self::Http4xx, Some(401 | 403 | 407)) => {
                "The receiver does not let this request in. Check the webhook's headers or credentials, and the secret that the receiver verifies with."
            }
            (Self::Http4xx, Some(404 | 405)) => {
                "The receiver has nothing there that takes a POST. Check the path in the webhook's URL."
            }
            (Self::Http4xx, Some(410)) => {
                "The receiver says that this endpoint is gone for good, so nothing more is sent to it. Put the new URL in the webhook and activate it, or delete it."
            }
            (Self::Http4xx, Some(413)) => {
                "The receiver does not take a body of this size. Raise its limit, or that of the proxy before it."
            }
            (Self::Http4xx, Some(429)) => {
                "The receiver gets more than it takes. Give the webhook a rate, or let the receiver take more."
            }
            (Self::Http5xx, Some(502..=504)) => {
                "The receiver, or a proxy before it, cannot take requests at the moment. Check that the service behind it runs."
            }
            _ => self.explanation(),
        }
    }

    /// What it means and what to try, in one or two plain sentences.
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Dns => {
                "The host name did not resolve. Check its spelling, and that this machine's resolver knows it."
            }
            Self::ConnectRefused => {
                "Nothing is listening at that address and port. Start the receiver, or correct the port in the URL."
            }
            Self::ConnectTimeout => {
                "The address did not answer the connection, or its TLS handshake, in time. A firewall may be dropping it, or the host is down."
            }
            Self::Connect => {
                "The connection could not be made. Check that the address is reachable from this machine."
            }
            Self::Tls => {
                "The TLS handshake failed. Check the certificate's name, its dates and its chain, and that this port speaks TLS."
            }
            Self::Timeout => {
                "The receiver did not finish its answer in time. Answer first and do the work afterwards."
            }
            Self::BlockedAddress => {
                "This address is private or reserved, so the box refused to dial it. Start it with --allow-target and the network's CIDR if it is meant to."
            }
            Self::InsecureUrl => {
                "This box sends to https: URLs only. Put an https: URL in the webhook, or start the box without --require-https."
            }
            Self::Redirect => {
                "The receiver answered with a redirect, and redirects are not followed. Put the final URL in the webhook."
            }
            Self::Http4xx => {
                "The receiver refused the request. Check the path, its authentication, and how it verifies the signature."
            }
            Self::Http5xx => {
                "The receiver failed while handling the request. Its own log will say why."
            }
            Self::TooLarge => {
                "The head of the answer is larger than the box reads: at most 64 KiB and 100 headers. Check what the receiver, or a proxy before it, puts into its headers."
            }
            Self::Protocol => {
                "The connection broke before a whole answer came, or the answer is not HTTP. Check what listens on that port."
            }
            Self::Request => {
                "The request could not be built from this webhook's settings. Edit the webhook and save it again."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_reads_back() {
        for class in ErrorClass::ALL {
            assert_eq!(ErrorClass::parse(class.as_str()), Some(class));
        }
    }

    #[test]
    fn every_class_says_what_to_try_and_some_statuses_say_more() {
        for class in ErrorClass::ALL {
            let explanation = class.explain(None);
            assert!(
                explanation.ends_with('.') && explanation.contains(". "),
                "{class:?}"
            );
        }
        let gone = ErrorClass::Http4xx.explain(Some(410));
        assert!(gone.contains("gone for good"), "{gone}");
        assert_eq!(
            ErrorClass::Timeout.explain(Some(410)),
            ErrorClass::Timeout.explanation()
        );
    }
}
