//! Which sites are search engines, social networks, shops, videos, assistants or webmail: facts, one list
//! a class. Owns how a source is looked up in them, and nothing of what follows from it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a site is for those who come from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A search engine.
    Search,
    /// A social network or forum.
    Social,
    /// A site of videos.
    Video,
    /// A shop or a comparison of shops.
    Shopping,
    /// An assistant that answers in words.
    Assistant,
    /// Mail in a browser or an app.
    Mail,
    /// A site of one of the above that is none of them itself, such as its sign-in page.
    Plain,
}

/// A site that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    /// What it is.
    pub(super) class: Class,
    /// The entry that found it; of `google.*` it is `google`.
    pub(super) name: &'static str,
}

// An entry with a dot is a host and stands for all below it; `google.*` is a host under any country's domain
// and the bare name too; one without a dot is a name that people write into utm_source. The longest
// entry wins, so `mail.google.com` is no search engine.

const SEARCH: &str = "google.* googleads adwords com.google.android.googlequicksearchbox \
    bing.com bing msn.com msn yahoo.* duckduckgo.com duckduckgo ddg ecosia.org ecosia baidu.com baidu \
    yandex.* ya.ru go.mail.ru rambler.ru rambler naver.com naver daum.net daum seznam.cz seznam \
    qwant.com qwant startpage.com startpage search.brave.com ask.com ask aol.com aol so.com 360.cn \
    sogou.com sogou sm.cn lycos.* dogpile.com dogpile excite.com kagi.com kagi mojeek.com mojeek \
    swisscows.com metager.de metager.org webcrawler.com info.com lilo.org onet.pl virgilio.it \
    biglobe.ne.jp goo.ne.jp coccoc.com coccoc sapo.pt centrum.cz najdi.si search.ch eniro.se kvasir.no \
    presearch.com presearch petalsearch.com search.yahoo.co.jp search.smt.docomo.ne.jp \
    gibiru.com yippy.com fireball.de search.xfinity.com websearch.rakuten.co.jp";

const SOCIAL: &str = "facebook.com facebook fb.com fb fb.me m.me messenger.com messenger com.facebook.katana \
    instagram.com instagram ig com.instagram.android threads.net threads.com threads \
    twitter.com twitter t.co x.com com.twitter.android linkedin.com linkedin lnkd.in com.linkedin.android \
    reddit.com reddit redd.it com.reddit.frontpage pinterest.* pin.it tiktok.com tiktok \
    snapchat.com snapchat bsky.app bsky.social bluesky bsky mastodon.social mastodon mstdn.social \
    tumblr.com tumblr t.me telegram.org telegram.me telegram whatsapp.com whatsapp wa.me \
    wechat.com wechat weixin.qq.com weibo.com weibo.cn weibo qzone.qq.com zhihu.com zhihu douban.com \
    xiaohongshu.com vk.com vk vkontakte.ru vkontakte ok.ru odnoklassniki.ru xing.com xing \
    quora.com quora discord.com discord discord.gg discordapp.com news.ycombinator.com hackernews \
    ycombinator lobste.rs producthunt.com producthunt slashdot.org digg.com digg livejournal.com \
    meetup.com meetup nextdoor.com nextdoor line.me kakao.com kakaotalk mixi.jp hatena.ne.jp \
    flickr.com flickr deviantart.com goodreads.com lemmy.world stackoverflow.com stackoverflow \
    stackexchange.com yelp.com yelp tripadvisor.* truthsocial.com gab.com mewe.com \
    yammer.com workplace.com tapatalk.com skype.com glassdoor.com";

const VIDEO: &str = "youtube.com youtube youtu.be yt com.google.android.youtube vimeo.com vimeo \
    twitch.tv twitch kick.com dailymotion.com dailymotion netflix.com netflix hulu.com hulu \
    disneyplus.com iqiyi.com iqiyi youku.com youku bilibili.com bilibili v.qq.com rumble.com rumble \
    odysee.com wistia.com wistia.net wistia ted.com nicovideo.jp veoh.com viddler.com rutube.ru rutube \
    crackle.com vidyard.com loom.com bitchute.com";

const SHOPPING: &str = "amazon.* ebay.* etsy.com etsy aliexpress.* alibaba.com alibaba walmart.com walmart \
    shopping.google.* google-shopping googleshopping igshopping shopping.yahoo.* shopping.yahoo.co.jp \
    shopify.com shopify shop.app shopzilla.com bizrate.com pricegrabber.com nextag.* idealo.* kelkoo.* \
    shopbot.* twenga.* ceneo.pl heureka.* zbozi.cz allegro.* rakuten.* mercadolibre.* mercadolivre.com.br \
    flipkart.com flipkart lazada.* shopee.* taobao.com taobao tmall.com tmall jd.com pinduoduo.com \
    temu.com temu shein.* wish.com wayfair.* zalando.* otto.de cdiscount.com bol.com coupang.com \
    gmarket.co.kr kakaku.com pricespy.* prisjakt.nu prisjakt.no geizhals.de geizhals.at billiger.de \
    pricerunner.* trovaprezzi.it slickdeals.net bestbuy.com bestbuy newegg.com kaufland.* ozon.ru \
    wildberries.ru market.yandex.* fnac.com mediamarkt.* fruugo.* trendyol.com noon.com jumia.*";

const ASSISTANT: &str = "chatgpt.com chatgpt chat.openai.com openai.com openai com.openai.chatgpt \
    claude.ai claude com.anthropic.claude perplexity.ai perplexity ai.perplexity.app.android \
    gemini.google.com gemini bard.google.com notebooklm.google.com com.google.android.apps.bard \
    copilot.microsoft.com copilot.com copilot copilot.cloud.microsoft m365.cloud.microsoft \
    edgeservices.bing.com deepseek.com deepseek grok.com grok x.ai meta.ai mistral.ai mistral \
    you.com phind.com poe.com pi.ai character.ai qwen.ai chat.qwen.ai kimi.com kimi.moonshot.cn \
    doubao.com doubao yiyan.baidu.com chatglm.cn iask.ai komo.ai andisearch.com duck.ai manus.im \
    genspark.ai felo.ai liner.com consensus.app yuanbao.tencent.com chat.z.ai";

const MAIL: &str = "mail.google.com inbox.google.com gmail.com gmail com.google.android.gm \
    outlook.com outlook outlook.live.com mail.live.com outlook.office.com outlook.office365.com hotmail.com \
    hotmail com.microsoft.office.outlook mail.yahoo.* com.yahoo.mobile.client.android.mail mail.aol.com \
    e.mail.ru mail.yandex.* proton.me protonmail.com protonmail fastmail.com fastmail mail.zoho.* \
    icloud.com mail.qq.com mail.163.com mail.126.com mail.naver.com mail.daum.net gmx.* deref-gmx.net \
    deref-gmx.com web.de deref-web.de tuta.com tutanota.com hey.com superhuman.com laposte.net \
    messagerie.orange.fr mail.orange.fr zimbra.free.fr poczta.onet.pl poczta.wp.pl poczta.o2.pl \
    email.seznam.cz mail.libero.it mail.rediff.com mail.comcast.net mail.sapo.pt posteo.de mailbox.org";

const PLAIN: &str = "accounts.google.com docs.google.com drive.google.com classroom.google.com meet.google.com \
    calendar.google.com sites.google.com groups.google.com chat.google.com cloud.google.com \
    play.google.com ads.google.com analytics.google.com tagassistant.google.com support.google.com \
    translate.google.com developers.google.com tagmanager.google.com keep.google.com contacts.google.com \
    login.yahoo.com passport.yandex.* disk.yandex.* cloud.yandex.* aws.amazon.com pay.amazon.com \
    music.amazon.* developer.amazon.com nid.naver.com platform.openai.com auth.openai.com";

/// Lists are read once; each lookup after that is a few hashes.
static SITES: LazyLock<Sites> = LazyLock::new(Sites::read);

struct Sites {
    /// Hosts and names.
    exact: HashMap<&'static str, Class>,
    /// Hosts less their country's domain.
    of_countries: HashMap<&'static str, Class>,
}

impl Sites {
    fn read() -> Self {
        let mut sites = Self {
            exact: HashMap::new(),
            of_countries: HashMap::new(),
        };
        for (class, list) in [
            (Class::Search, SEARCH),
            (Class::Social, SOCIAL),
            (Class::Video, VIDEO),
            (Class::Shopping, SHOPPING),
            (Class::Assistant, ASSISTANT),
            (Class::Mail, MAIL),
            (Class::Plain, PLAIN),
        ] {
            for entry in list.split_ascii_whitespace() {
                match entry.strip_suffix(".*") {
                    Some(name) => sites.of_countries.insert(name, class),
                    None => sites.exact.insert(entry, class),
                };
            }
        }
        sites
    }
}

/// The site that `source` is: a host, or a name as people write it into utm_source. In lower case.
pub(super) fn find(source: &str) -> Option<Site> {
    if !source.contains('.') {
        return site(&SITES.exact, source).or_else(|| site(&SITES.of_countries, source));
    }
    if source.starts_with("webmail.") {
        return Some(Site {
            class: Class::Mail,
            name: "webmail",
        });
    }
    suffixes(source).find_map(|host| {
        site(&SITES.exact, host).or_else(|| {
            site(
                &SITES.of_countries,
                host.strip_suffix(public_suffix(host)?)?,
            )
        })
    })
}

fn site(sites: &HashMap<&'static str, Class>, name: &str) -> Option<Site> {
    let (name, class) = sites.get_key_value(name)?;
    Some(Site {
        class: *class,
        name,
    })
}

/// The host and what it lies below, the longest first, down to two labels.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |host| {
        host.split_once('.').map(|(_, rest)| rest)
    })
    .take_while(|host| host.contains('.'))
}

/// The end of a host under which anybody registers, with its dot: `.com`, `.de`, `.co.uk`. A rule of thumb
/// that needs no list of all registries.
fn public_suffix(host: &str) -> Option<&str> {
    let (rest, last) = host.rsplit_once('.')?;
    let second = rest.rsplit('.').next()?;
    let is_country = last.len() == 2;
    let is_two_labels = is_country
        && rest.len() > second.len()
        && matches!(
            second,
            "co" | "com" | "net" | "org" | "ne" | "or" | "ac" | "gov" | "edu"
        );
    if is_two_labels {
        host.get(rest.len() - second.len() - 1..)
    } else if is_country || matches!(last, "com" | "net" | "org" | "eu") {
        host.get(rest.len()..)
    } else {
        None
    }
}

/// Hosts below which every customer has a site of its own.
const SHARED: &str = "github.io gitlab.io vercel.app netlify.app pages.dev workers.dev web.app \
    firebaseapp.com herokuapp.com fly.dev onrender.com azurewebsites.net cloudfront.net blogspot.com \
    wordpress.com myshopify.com webflow.io wixsite.com notion.site";

/// Whether both hosts belong to one site: `www.example.com` and `app.example.com` do.
pub(super) fn is_same_site(one: &str, other: &str) -> bool {
    site_of(one) == site_of(other)
}

/// What somebody registered, of a host; the host itself where that cannot be told, as of an address.
fn site_of(host: &str) -> &str {
    let is_address = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if is_address {
        return host;
    }
    let shared = SHARED.split_ascii_whitespace().find(|shared| {
        host.strip_suffix(shared)
            .is_some_and(|own| own.ends_with('.'))
    });
    let suffix = match (shared, public_suffix(host)) {
        (Some(shared), _) => shared.len() + 1,
        (None, Some(suffix)) => suffix.len(),
        (None, None) => host.rsplit_once('.').map_or(0, |(_, last)| last.len() + 1),
    };
    let before = host.len().saturating_sub(suffix);
    let own = host.get(..before).unwrap_or("").rsplit('.').next();
    let start = before.saturating_sub(own.unwrap_or("").len());
    host.get(start..).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_is_listed_twice() {
        let mut seen = HashSet::new();
        for list in [SEARCH, SOCIAL, VIDEO, SHOPPING, ASSISTANT, MAIL, PLAIN] {
            for entry in list.split_ascii_whitespace() {
                assert!(seen.insert(entry), "{entry} is listed twice");
                assert_eq!(entry, entry.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn a_host_is_found_by_its_end_at_a_dot() {
        let name = |host| find(host).map(|site| site.name);
        assert_eq!(name("www.google.co.uk"), Some("google"));
        assert_eq!(name("google.com.br"), Some("google"));
        assert_eq!(name("google"), Some("google"));
        assert_eq!(name("l.facebook.com"), Some("facebook.com"));
        assert_eq!(name("mail.google.com"), Some("mail.google.com"));
        for stranger in [
            "notgoogle.com",
            "google.evil.com",
            "google.com.evil.org",
            "facebook.com.evil.org",
            "com",
            "",
            ".",
            "..",
        ] {
            assert_eq!(name(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_site_is_what_somebody_registered() {
        for (one, other, is_same) in [
            ("www.example.com", "app.example.com", true),
            ("example.co.uk", "www.example.co.uk", true),
            ("one.co.uk", "other.co.uk", false),
            ("one.github.io", "other.github.io", false),
            ("example.dev", "docs.example.dev", true),
            ("localhost", "localhost", true),
            ("10.0.0.1", "11.0.0.1", false),
            ("[::1]", "[::1]", true),
            ("example.com", "example.org", false),
        ] {
            assert_eq!(is_same_site(one, other), is_same, "{one} {other}");
        }
    }
}
