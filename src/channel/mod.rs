//! How somebody came: the marketing channel of a visit (wire.md, "Channels"), by the rules of the usual
//! default channel grouping and with assistants as a channel of their own. Knows no event and no dialect.

mod sites;

use self::sites::{Class, Site};
use std::borrow::Cow;
use url::{Url, form_urlencoded};

/// A way of coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A campaign that runs everywhere at once.
    CrossNetwork,
    /// An ad at a shop.
    PaidShopping,
    /// An ad at a search engine.
    PaidSearch,
    /// An ad at a social network.
    PaidSocial,
    /// An ad at a site of videos.
    PaidVideo,
    /// A banner.
    Display,
    /// An ad anywhere else.
    PaidOther,
    /// A link at a shop.
    OrganicShopping,
    /// A link at a social network.
    OrganicSocial,
    /// A link at a site of videos.
    OrganicVideo,
    /// An assistant's answer.
    AiAssistants,
    /// A search engine's result.
    OrganicSearch,
    /// A link in a mail.
    Email,
    /// A partner's link.
    Affiliates,
    /// An ad in something to listen to.
    Audio,
    /// A link in a text message.
    Sms,
    /// A notice on a phone.
    MobilePush,
    /// A link on another site.
    Referral,
    /// Nothing says how.
    Direct,
}

impl Channel {
    /// The words in the file, on the wire and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrossNetwork => "Cross-network",
            Self::PaidShopping => "Paid Shopping",
            Self::PaidSearch => "Paid Search",
            Self::PaidSocial => "Paid Social",
            Self::PaidVideo => "Paid Video",
            Self::Display => "Display",
            Self::PaidOther => "Paid Other",
            Self::OrganicShopping => "Organic Shopping",
            Self::OrganicSocial => "Organic Social",
            Self::OrganicVideo => "Organic Video",
            Self::AiAssistants => "AI Assistants",
            Self::OrganicSearch => "Organic Search",
            Self::Email => "Email",
            Self::Affiliates => "Affiliates",
            Self::Audio => "Audio",
            Self::Sms => "SMS",
            Self::MobilePush => "Mobile Push",
            Self::Referral => "Referral",
            Self::Direct => "Direct",
        }
    }
}

/// What an event says of how its visitor came. One with nothing in it came directly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touch<'a> {
    /// The page before, as a URL or a host.
    pub referrer: Option<Cow<'a, str>>,
    /// Hosts that are the sender's own: coming from them is no referral.
    pub own_hosts: Vec<String>,
    /// `utm_source`.
    pub source: Option<Cow<'a, str>>,
    /// `utm_medium`.
    pub medium: Option<Cow<'a, str>>,
    /// `utm_campaign`.
    pub campaign: Option<Cow<'a, str>>,
    /// Whether Google's id of a click on an ad is there.
    pub has_gclid: bool,
    /// Whether Microsoft's id of a click on an ad is there.
    pub has_msclkid: bool,
}

impl<'a> Touch<'a> {
    /// What the URL of a page and the referrer say; a URL may lack its host.
    pub fn of_page(url: Option<Cow<'a, str>>, referrer: Option<Cow<'a, str>>) -> Self {
        let mut touch = Self {
            referrer,
            ..Self::default()
        };
        let Some(url) = url else {
            return touch;
        };
        touch
            .own_hosts
            .extend(Url::parse(&url).ok().as_ref().and_then(host_of));
        let before_fragment = url.split('#').next().unwrap_or("");
        let query = before_fragment
            .split_once('?')
            .map_or("", |(_, query)| query);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value: Cow<'a, str> = Cow::Owned(value.into_owned());
            let is_said = !value.trim().is_empty();
            match &*name {
                "utm_source" => touch.source = Some(value),
                "utm_medium" => touch.medium = Some(value),
                "utm_campaign" => touch.campaign = Some(value),
                "gclid" => touch.has_gclid |= is_said,
                "msclkid" => touch.has_msclkid |= is_said,
                _ => {}
            }
        }
        touch
    }

    /// Lets what is said in so many words win over what the page's URL says.
    #[must_use]
    pub fn with_utm(
        mut self,
        source: Option<Cow<'a, str>>,
        medium: Option<Cow<'a, str>>,
        campaign: Option<Cow<'a, str>>,
    ) -> Self {
        let said = |value: Option<Cow<'a, str>>| value.filter(|value| !value.trim().is_empty());
        self.source = said(source).or(self.source);
        self.medium = said(medium).or(self.medium);
        self.campaign = said(campaign).or(self.campaign);
        self
    }

    /// Names sites of the sender's own by their URLs or origins.
    #[must_use]
    pub fn with_own_sites<'b>(mut self, urls: impl Iterator<Item = &'b str>) -> Self {
        let hosts = urls.filter_map(|url| host_of(&Url::parse(url).ok()?));
        self.own_hosts.extend(hosts);
        self
    }

    /// The host or the name that the visitor came from, in lower case.
    fn origin(&self) -> Option<String> {
        let named = word(self.source.as_deref());
        let named = match named.contains("://") {
            true => Url::parse(&named).ok().as_ref().and_then(host_of),
            false => Some(named),
        };
        named
            .filter(|name| !name.is_empty())
            .or_else(|| self.referring_host())
            .or_else(|| self.has_gclid.then(|| "google".to_owned()))
            .or_else(|| self.has_msclkid.then(|| "bing".to_owned()))
    }

    fn referring_host(&self) -> Option<String> {
        let referrer = self.referrer.as_deref()?.trim();
        let url = match Url::parse(referrer) {
            Ok(url) if url.has_host() => url,
            _ => Url::parse(&format!("http://{referrer}")).ok()?,
        };
        let host = host_of(&url)?;
        let is_own = self
            .own_hosts
            .iter()
            .any(|own| sites::is_same_site(own, &host));
        (!is_own).then_some(host)
    }
}

fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    Some(host.strip_prefix("www.").unwrap_or(host).to_owned())
}

/// What a field says, in lower case; some senders write that they have nothing to say.
fn word(value: Option<&str>) -> String {
    let word = value.unwrap_or("").trim().to_lowercase();
    match &*word {
        "(direct)" | "(none)" | "(not set)" => String::new(),
        _ => word,
    }
}

/// The channel of a visit: the first rule that fits.
pub fn channel(touch: &Touch<'_>) -> Channel {
    let source = touch.origin();
    let (medium, campaign) = (
        word(touch.medium.as_deref()),
        word(touch.campaign.as_deref()),
    );
    let site = source.as_deref().and_then(sites::find);
    let class = site.map(|site| site.class);
    let is_shopping = class == Some(Class::Shopping) || is_of_shopping(&campaign);
    if campaign.contains("cross-network") {
        return Channel::CrossNetwork;
    }
    if let Some(paid) = paid(touch, site, is_shopping, &medium) {
        return paid;
    }
    match class {
        _ if is_shopping => Channel::OrganicShopping,
        Some(Class::Social) => Channel::OrganicSocial,
        _ if is_social(&medium) => Channel::OrganicSocial,
        Some(Class::Video) => Channel::OrganicVideo,
        _ if medium.contains("video") => Channel::OrganicVideo,
        Some(Class::Assistant) => Channel::AiAssistants,
        Some(Class::Search) => Channel::OrganicSearch,
        _ if medium == "organic" => Channel::OrganicSearch,
        Some(Class::Mail) => Channel::Email,
        _ => by_words(source.as_deref(), &medium),
    }
}

/// The channel of what somebody paid for.
fn paid(touch: &Touch<'_>, site: Option<Site>, is_shopping: bool, medium: &str) -> Option<Channel> {
    let is_paid = is_paid(medium);
    let is_clicked = |names: &[&str]| {
        site.is_some_and(|site| site.class == Class::Search && names.contains(&site.name))
    };
    let is_ad_click = (touch.has_gclid && is_clicked(&["google"]))
        || (touch.has_msclkid && is_clicked(&["bing", "bing.com"]));
    match site.map(|site| site.class) {
        _ if is_paid && is_shopping => Some(Channel::PaidShopping),
        Some(Class::Search) if is_paid || is_ad_click => Some(Channel::PaidSearch),
        Some(Class::Social) if is_paid => Some(Channel::PaidSocial),
        Some(Class::Video) if is_paid => Some(Channel::PaidVideo),
        _ if is_display(medium) => Some(Channel::Display),
        _ if is_paid => Some(Channel::PaidOther),
        _ => None,
    }
}

/// The channels that no list of sites tells.
fn by_words(source: Option<&str>, medium: &str) -> Channel {
    let name = source.unwrap_or("");
    if is_of_mail(name) || is_of_mail(medium) {
        Channel::Email
    } else if matches!(medium, "affiliate" | "affiliates") {
        Channel::Affiliates
    } else if medium == "audio" {
        Channel::Audio
    } else if name == "sms" || medium == "sms" {
        Channel::Sms
    } else if medium.ends_with("push")
        || medium.contains("mobile")
        || medium.contains("notification")
        || name == "firebase"
    {
        Channel::MobilePush
    } else if source.is_some() || matches!(medium, "referral" | "app" | "link") {
        Channel::Referral
    } else {
        Channel::Direct
    }
}

/// `^(.*cp.*|ppc|retargeting|paid.*)$`
fn is_paid(medium: &str) -> bool {
    medium.contains("cp") || matches!(medium, "ppc" | "retargeting") || medium.starts_with("paid")
}

/// `^(.*(([^a-df-z]|^)shop|shopping).*)$`: a word that starts with "shop", or ends an "e" before it, so that
/// a workshop is none.
fn is_of_shopping(campaign: &str) -> bool {
    campaign.contains("shopping")
        || campaign.match_indices("shop").any(|(at, _)| {
            let before = campaign.get(..at).and_then(|text| text.chars().next_back());
            !before.is_some_and(|c| c.is_ascii_lowercase() && c != 'e')
        })
}

fn is_display(medium: &str) -> bool {
    matches!(
        medium,
        "display" | "banner" | "expandable" | "interstitial" | "cpm"
    )
}

fn is_social(medium: &str) -> bool {
    matches!(
        medium,
        "social" | "social-network" | "social-media" | "sm" | "social network" | "social media"
    )
}

fn is_of_mail(word: &str) -> bool {
    ["email", "e-mail", "e_mail", "e mail", "newsletter"]
        .iter()
        .any(|name| word.contains(name))
}

#[cfg(test)]
mod tests {
    use super::Channel::*;
    use super::*;

    fn of_utm(source: &str, medium: &str, campaign: &str) -> Channel {
        let said = |value: &str| Some(Cow::Owned(value.to_owned()));
        channel(&Touch::default().with_utm(said(source), said(medium), said(campaign)))
    }

    fn of_page(url: &str, referrer: &str) -> Channel {
        channel(&Touch::of_page(
            Some(Cow::Borrowed(url)),
            Some(Cow::Borrowed(referrer)),
        ))
    }

    #[test]
    fn campaigns_have_their_channels() {
        for (source, medium, campaign, expected) in [
            ("google", "cpc", "Cross-Network | spring", CrossNetwork),
            ("", "", "cross-network", CrossNetwork),
            ("amazon", "cpc", "", PaidShopping),
            ("google", "cpc", "shopping_spring", PaidShopping),
            ("google", "ppc", "eshop", PaidShopping),
            ("google", "cpc", "my shop", PaidShopping),
            ("google", "cpc", "workshop", PaidSearch),
            ("google", "cpc", "", PaidSearch),
            ("Google", "CPC", "", PaidSearch),
            (" bing ", "ppc", "", PaidSearch),
            ("bing", "paidsearch", "", PaidSearch),
            ("yandex", "retargeting", "", PaidSearch),
            ("google", "cpm", "", PaidSearch),
            ("facebook", "cpc", "", PaidSocial),
            ("fb", "paid", "", PaidSocial),
            ("ig", "paid_social", "", PaidSocial),
            ("linkedin.com", "cpm", "", PaidSocial),
            ("youtube", "cpv", "", PaidVideo),
            ("youtube", "cpc", "", PaidVideo),
            ("vimeo.com", "paid-video", "", PaidVideo),
            ("nytimes", "display", "", Display),
            ("nytimes", "banner", "", Display),
            ("x", "expandable", "", Display),
            ("x", "interstitial", "", Display),
            ("x", "cpm", "", Display),
            ("taboola", "cpc", "", PaidOther),
            ("taboola", "paid", "", PaidOther),
            ("chatgpt.com", "cpc", "", PaidOther),
            ("etsy", "", "", OrganicShopping),
            ("partner", "", "e-shop", OrganicShopping),
            ("partner", "", "bookshop", Referral),
            ("reddit", "", "", OrganicSocial),
            ("partner", "social", "", OrganicSocial),
            ("partner", "social-media", "", OrganicSocial),
            ("partner", "sm", "", OrganicSocial),
            ("", "social-network", "", OrganicSocial),
            ("youtube", "", "", OrganicVideo),
            ("partner", "video-post", "", OrganicVideo),
            ("chatgpt.com", "", "", AiAssistants),
            ("perplexity", "", "", AiAssistants),
            ("google", "", "", OrganicSearch),
            ("partner", "organic", "", OrganicSearch),
            ("spring-newsletter", "", "", Email),
            ("hubspot", "email", "", Email),
            ("hubspot", "e-mail", "", Email),
            ("hubspot", "e_mail", "", Email),
            ("gmail", "", "", Email),
            ("partner", "affiliate", "", Affiliates),
            ("spotify", "audio", "", Audio),
            ("sms", "", "", Sms),
            ("twilio", "sms", "", Sms),
            ("onesignal", "webpush", "", MobilePush),
            ("onesignal", "push", "", MobilePush),
            ("partner", "mobile-banner", "", MobilePush),
            ("partner", "app-notification", "", MobilePush),
            ("firebase", "", "", MobilePush),
            ("partner", "", "", Referral),
            ("partner", "referral", "", Referral),
            ("https://www.google.de/", "", "", OrganicSearch),
            ("(direct)", "(none)", "", Direct),
            ("", "", "", Direct),
            (" ", " ", " ", Direct),
        ] {
            assert_eq!(
                of_utm(source, medium, campaign),
                expected,
                "{source} / {medium} / {campaign}"
            );
        }
    }

    #[test]
    fn pages_and_referrers_have_their_channels() {
        let page = "https://www.example.com/pricing";
        for (url, referrer, expected) in [
            (page, "", Direct),
            (page, "https://www.google.com/", OrganicSearch),
            (page, "https://www.google.co.uk/search?q=x", OrganicSearch),
            (page, "https://GOOGLE.com.au/", OrganicSearch),
            (page, "https://search.yahoo.com/", OrganicSearch),
            (page, "https://duckduckgo.com/", OrganicSearch),
            (
                page,
                "android-app://com.google.android.googlequicksearchbox/",
                OrganicSearch,
            ),
            (page, "https://notgoogle.com/", Referral),
            (page, "https://google.com.evil.org/", Referral),
            (page, "https://accounts.google.com/", Referral),
            (page, "https://mail.google.com/mail/u/0/", Email),
            (page, "android-app://com.google.android.gm/", Email),
            (page, "https://outlook.live.com/", Email),
            (page, "https://webmail.example.org/", Email),
            (page, "https://gemini.google.com/app", AiAssistants),
            (page, "https://claude.ai/chat/1", AiAssistants),
            (page, "https://copilot.microsoft.com/", AiAssistants),
            (page, "https://l.facebook.com/", OrganicSocial),
            (page, "https://t.co/abc", OrganicSocial),
            (page, "https://news.ycombinator.com/", OrganicSocial),
            (page, "https://www.pinterest.co.uk/", OrganicSocial),
            (page, "https://www.youtube.com/watch?v=1", OrganicVideo),
            (page, "https://www.amazon.de/", OrganicShopping),
            (page, "https://aws.amazon.com/", Referral),
            (page, "https://app.example.com/", Direct),
            (page, "https://example.com/", Direct),
            (page, "https://partner.example.org/", Referral),
            (page, "partner.example.org", Referral),
            (page, "not a url", Direct),
            (page, "about:blank", Direct),
            ("/pricing?utm_source=x-letter&utm_medium=email", "", Email),
            ("/?gclid=1", "", PaidSearch),
            ("/?gclid=1", "https://www.google.com/", PaidSearch),
            ("/?gclid=", "https://www.google.com/", OrganicSearch),
            ("/?gclid=1", "https://www.bing.com/", OrganicSearch),
            ("/?msclkid=1", "https://www.bing.com/", PaidSearch),
            ("/?msclkid=1#a?b", "", PaidSearch),
            (
                "/?utm_source=partner&gclid=1",
                "https://www.google.com/",
                Referral,
            ),
            (
                "/?utm_source=&utm_medium=",
                "https://www.google.com/",
                OrganicSearch,
            ),
            ("/?utm%5Fsource=goo%67le&utm_medium=c%70c", "", PaidSearch),
            (
                "/?utm_source=facebook",
                "https://www.google.com/",
                OrganicSocial,
            ),
        ] {
            assert_eq!(of_page(url, referrer), expected, "{url} from {referrer}");
        }
    }

    #[test]
    fn what_is_said_in_so_many_words_wins() {
        let said = |text: &'static str| Some(Cow::Borrowed(text));
        let page = || Touch::of_page(said("/?utm_source=google&utm_medium=cpc"), None);
        assert_eq!(
            channel(&page().with_utm(said("fb"), None, None)),
            PaidSocial
        );
        assert_eq!(
            channel(&page().with_utm(said(""), said("email"), None)),
            OrganicSearch
        );
        assert_eq!(channel(&page()), PaidSearch);
        let from_own = Touch::of_page(None, said("https://docs.example.com/"));
        assert_eq!(channel(&from_own), Referral);
        let known = from_own.with_own_sites(["*", "https://www.example.com"].into_iter());
        assert_eq!(channel(&known), Direct);
    }
}
