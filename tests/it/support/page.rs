//! A visitor of the pages without a browser: cookies by hand, so that every attribute is seen, and
//! forms found in the HTML that came.

use super::data::PASSWORD;
use super::server::Server;
use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Somebody with a cookie jar.
#[derive(Debug)]
pub(crate) struct Visitor {
    /// The box's own origin.
    pub(crate) origin: String,
    http: Client,
    cookies: RefCell<BTreeMap<String, String>>,
}

/// An answer that was read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: reqwest::header::HeaderMap,
    /// The body.
    pub(crate) html: String,
}

/// A form that was found on a page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    /// Where it goes.
    pub(crate) action: String,
    /// Its inputs' names and values, in order.
    pub(crate) inputs: Vec<Input>,
}

/// One input of a form.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

impl Page {
    fn read(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            html: response.text().unwrap(),
        }
    }

    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Where it sends one on.
    pub(crate) fn location(&self) -> &str {
        self.header("location")
    }

    /// What a person reads: the text between tags, entities decoded, blanks folded.
    pub(crate) fn text(&self) -> String {
        let text: String = pieces(&self.html)
            .map(|piece| match piece {
                Piece::Text(text) => text,
                // A tag parts words, as most do on the screen.
                Piece::Tag(_) => " ",
            })
            .collect();
        unescape(&text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The text between tags with nothing folded or added: what a payload looks like to the byte.
    pub(crate) fn exact_text(&self) -> String {
        let text: String = pieces(&self.html)
            .filter_map(|piece| match piece {
                Piece::Text(text) => Some(text),
                Piece::Tag(_) => None,
            })
            .collect();
        unescape(&text)
    }

    /// Every tag of this name, as it stands.
    pub(crate) fn tags(&self, name: &str) -> Vec<String> {
        pieces(&self.html)
            .filter_map(|piece| match piece {
                Piece::Tag(tag) if tag_name(tag) == name => Some(tag.to_owned()),
                _ => None,
            })
            .collect()
    }

    /// Every place that a link goes to.
    pub(crate) fn links(&self) -> Vec<String> {
        self.tags("a")
            .iter()
            .filter_map(|tag| attribute(tag, "href"))
            .collect()
    }

    /// Every form.
    pub(crate) fn forms(&self) -> Vec<Form> {
        let mut forms: Vec<Form> = Vec::new();
        for piece in pieces(&self.html) {
            let Piece::Tag(tag) = piece else { continue };
            match tag_name(tag).as_str() {
                "form" => forms.push(Form {
                    action: attribute(tag, "action").unwrap_or_default(),
                    inputs: Vec::new(),
                }),
                "input" | "textarea" | "select" | "button" => {
                    let (Some(form), Some(name)) = (forms.last_mut(), attribute(tag, "name"))
                    else {
                        continue;
                    };
                    form.inputs.push(Input {
                        name,
                        value: attribute(tag, "value").unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
        forms
    }

    /// The hidden `csrf` field's value, if a form has one.
    pub(crate) fn csrf(&self) -> Option<String> {
        self.forms()
            .into_iter()
            .flat_map(|form| form.inputs)
            .find(|input| input.name == "csrf")
            .map(|input| input.value)
    }
}

impl Visitor {
    /// Nobody yet.
    pub(crate) fn new(server: &Server) -> Self {
        Self {
            origin: server.url.clone(),
            http: server.http.clone(),
            cookies: RefCell::default(),
        }
    }

    /// Somebody whom [`super::Data::user`] made, signed in.
    #[track_caller]
    pub(crate) fn signed_in(server: &Server, email: &str) -> Self {
        let visitor = Self::new(server);
        let page = visitor.sign_in(email, PASSWORD);
        assert_eq!(page.status, 303, "signing in as {email}: {}", page.text());
        assert!(!visitor.cookies.borrow().is_empty(), "no cookie was set");
        visitor
    }

    /// Sends the sign-in form.
    pub(crate) fn sign_in(&self, email: &str, password: &str) -> Page {
        self.post_as_is("/login", &[("email", email), ("password", password)])
    }

    /// A request with the cookies, still without anything else.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.origin)
        };
        let cookies: Vec<_> = self
            .cookies
            .borrow()
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = self.http.request(method, url);
        if cookies.is_empty() {
            request
        } else {
            request.header("cookie", cookies.join("; "))
        }
    }

    /// Sends anything, with the cookies, and keeps those that come.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        fields: Option<&[(&str, &str)]>,
    ) -> Page {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(fields) = fields {
            request = request.form(fields);
        }
        let response = request.send().unwrap();
        for cookie in response.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap();
            let is_over = value.is_empty() || cookie.to_ascii_lowercase().contains("max-age=0");
            if is_over {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.cookies
                    .borrow_mut()
                    .insert(name.to_owned(), value.to_owned());
            }
        }
        Page::read(response)
    }

    /// GET.
    pub(crate) fn get(&self, path: &str) -> Page {
        self.send(Method::GET, path, &[], None)
    }

    /// GET of a page that must be there.
    #[track_caller]
    pub(crate) fn see(&self, path: &str) -> Page {
        let page = self.get(path);
        assert_eq!(page.status, 200, "GET {path}: {}", page.text());
        page
    }

    /// The token that this visitor's forms carry.
    #[track_caller]
    pub(crate) fn csrf(&self) -> String {
        self.see("/workspaces")
            .csrf()
            .expect("a form with a csrf field on /workspaces")
    }

    /// POST of a form as a browser would, but without a csrf field of its own accord.
    pub(crate) fn post_as_is(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let headers = [
            ("origin", self.origin.as_str()),
            ("sec-fetch-site", "same-origin"),
        ];
        self.send(Method::POST, path, &headers, Some(fields))
    }

    /// POST of a form as a browser would.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let csrf = self.csrf();
        let mut fields = fields.to_vec();
        fields.push(("csrf", &csrf));
        self.post_as_is(path, &fields)
    }

    /// POST of a form that must be taken (303).
    #[track_caller]
    pub(crate) fn submit(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.post(path, fields);
        assert_eq!(page.status, 303, "POST {path}: {}", page.text());
        page
    }
}

enum Piece<'a> {
    /// Between tags, still escaped.
    Text(&'a str),
    /// From `<` to `>`.
    Tag(&'a str),
}

/// The document in pieces: enough of HTML for pages whose text is escaped, which is the point.
fn pieces(html: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = html;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if first == '<' {
            let mut quote = None;
            rest.char_indices()
                .find(|(_, c)| {
                    match (quote, *c) {
                        (None, '"' | '\'') => quote = Some(*c),
                        (Some(open), c) if open == c => quote = None,
                        (None, '>') => return true,
                        _ => {}
                    }
                    false
                })
                .map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find('<').unwrap_or(rest.len())
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(if first == '<' {
            Piece::Tag(piece)
        } else {
            Piece::Text(piece)
        })
    })
}

fn tag_name(tag: &str) -> String {
    tag.trim_start_matches('<')
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '!'))
        .collect::<String>()
        .to_ascii_lowercase()
}

/// An attribute's value, decoded; an attribute without a value is empty.
pub(crate) fn attribute(tag: &str, name: &str) -> Option<String> {
    let mut rest = tag
        .trim_start_matches('<')
        .trim_end_matches('>')
        .trim_start_matches(|c: char| !c.is_whitespace());
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let name_len = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len())
            .max(1);
        let (found, after) = rest.split_at(name_len);
        let (value, after) = match after.trim_start().strip_prefix('=') {
            None => ("", after),
            Some(value) => {
                let value = value.trim_start();
                match value.chars().next() {
                    Some(quote @ ('"' | '\'')) => {
                        value[1..].split_once(quote).unwrap_or((&value[1..], ""))
                    }
                    _ => value.split_at(value.find(char::is_whitespace).unwrap_or(value.len())),
                }
            }
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(unescape(value));
        }
        rest = after;
    }
}

/// The entities that an escaper writes, decoded.
pub(crate) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some((entity, after)) = rest[1..].split_once(';').filter(|(e, _)| e.len() <= 8) else {
            plain.push('&');
            rest = &rest[1..];
            continue;
        };
        let decoded = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "nbsp" => Some(' '),
            _ => entity
                .strip_prefix("#x")
                .and_then(|hex| u32::from_str_radix(hex, 16).ok())
                .or_else(|| entity.strip_prefix('#').and_then(|n| n.parse().ok()))
                .and_then(char::from_u32),
        };
        match decoded {
            Some(c) => {
                plain.push(c);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[test]
fn pages_are_read_as_a_browser_would() {
    let page = Page {
        status: 200,
        headers: reqwest::header::HeaderMap::new(),
        html: concat!(
            r#"<p title="a > b">1 &lt; 2 &#38; <b>x</b></p><form action='/go?a=1&amp;b=2'>"#,
            r#"<input value="t&quot;k" type=hidden name="csrf"><button name=held value=send>Send</button></form>"#
        )
        .to_owned(),
    };
    assert_eq!(page.text(), "1 < 2 & x Send");
    assert_eq!(page.csrf().as_deref(), Some("t\"k"));
    let forms = page.forms();
    assert_eq!(forms[0].action, "/go?a=1&b=2");
    assert_eq!(forms[0].inputs[1].value, "send");
}
