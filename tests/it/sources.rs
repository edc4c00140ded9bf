//! BE LOOKED AT: sources on their pages and on the command line; what to paste works when it is pasted, and
//! secrets are shown once.

use crate::support::page::Page;
use crate::support::{Data, Server, Tenant, Visitor};
use serde_json::json;

/// A box with one tenant and its owner Ann, who is signed in.
struct Desk {
    data: Data,
    tenant: Tenant,
    server: Server,
    ann: Visitor,
}

impl Desk {
    #[track_caller]
    fn new() -> Self {
        let data = Data::new();
        let tenant = data.tenant("Acme");
        data.member(&tenant.id, "ann@example.com", "owner");
        let server = data.serve();
        let ann = Visitor::signed_in(&server, "ann@example.com");
        Self {
            data,
            tenant,
            server,
            ann,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/w/{}/{rest}", self.tenant.slug)
    }

    /// A column of the only source, as text.
    #[track_caller]
    fn column(&self, column: &str) -> String {
        let sql = format!("SELECT hex({column}) FROM source");
        let hex: String = self
            .data
            .open()
            .query_row(&sql, [], |row| row.get(0))
            .unwrap();
        let bytes = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
    }

    #[track_caller]
    fn audit(&self) -> Vec<String> {
        let connection = self.data.open();
        let mut statement = connection
            .prepare(
                "SELECT action || ' ' || coalesce(before, '') || ' ' || coalesce(after, '')
                 FROM audit WHERE action LIKE 'source.%' ORDER BY id",
            )
            .unwrap();
        statement
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap()
    }
}

/// What stands to be copied on a page, in order.
fn copied(page: &Page) -> Vec<String> {
    page.tags("button")
        .iter()
        .filter_map(|tag| crate::support::page::attribute(tag, "data-copy"))
        .collect()
}

#[test]
fn a_source_is_made_changed_and_given_secrets_on_its_pages() {
    let desk = Desk::new();
    let empty = desk.ann.see(&desk.path("sources"));
    assert!(empty.text().contains("No sources yet"));
    assert!(
        empty.links().contains(&desk.path("sources")),
        "a link in the rail"
    );

    let made = desk.ann.post(&desk.path("sources"), &[("name", " Shop ")]);
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.header("cache-control").contains("no-store"));
    let secret = copied(&made).remove(0);
    assert!(secret.len() >= 32, "{secret}");
    let href = made
        .links()
        .into_iter()
        .find(|link| link.contains("/sources/src_"))
        .expect("a link to the source");
    let page = desk.ann.see(&href);
    assert!(!page.html.contains(&secret), "it is shown once");
    assert!(desk.ann.see(&desk.path("sources")).links().contains(&href));

    let fields = [
        ("name", "Web shop"),
        (
            "origin",
            "https://Shop.Example/\r\n\r\nhttp://localhost:3000\r\n",
        ),
        ("customers_are_accounts", "1"),
    ];
    let saved = desk.ann.submit(&href, &fields);
    let page = desk.ann.see(saved.location());
    assert!(page.text().contains("The source was saved."));
    assert!(
        page.exact_text()
            .contains("https://shop.example\nhttp://localhost:3000")
    );
    assert_eq!(desk.column("name"), "Web shop");
    assert_eq!(
        desk.column("origins"),
        r#"["https://shop.example","http://localhost:3000"]"#
    );
    assert_eq!(desk.column("customers_are_accounts"), "1");

    let stripe = format!("{href}/stripe");
    let kept = desk
        .ann
        .submit(&stripe, &[("stripe_secret", "whsec_quiet")]);
    let page = desk.ann.see(kept.location());
    assert!(!page.html.contains("whsec_quiet"), "it is not shown again");
    assert!(page.text().contains("A signing secret is kept"));
    let first = desk.column("stripe_secret_sealed");
    assert!(!first.contains("quiet"), "it is sealed");
    desk.ann
        .submit(&stripe, &[("stripe_secret", "whsec_other")]);
    assert_ne!(desk.column("stripe_secret_sealed"), first);

    let rotate = format!("{href}/rotate");
    assert!(
        desk.ann
            .see(&rotate)
            .text()
            .contains("This cannot be undone")
    );
    let before = desk.column("identity_secret_sealed");
    let rotated = desk.ann.post(&rotate, &[]);
    assert_eq!(rotated.status, 200);
    let new = copied(&rotated).remove(0);
    assert_ne!(new, secret);
    assert_ne!(desk.column("identity_secret_sealed"), before);
    assert!(!desk.ann.see(&href).html.contains(&new), "it is shown once");

    let audit = desk.audit();
    let actions: Vec<_> = audit
        .iter()
        .map(|entry| entry.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "source.created",
            "source.updated",
            "source.stripe_secret_set",
            "source.stripe_secret_set",
            "source.identity_secret_rotated"
        ]
    );
    let all = audit.join("\n");
    for secret in [&secret, &new, "whsec_"] {
        assert!(!all.contains(secret), "a secret in the audit trail:\n{all}");
    }
    assert!(all.contains("http://localhost:3000"), "{all}");
}

#[test]
fn what_is_wrong_with_a_source_is_said_beside_its_field_and_the_input_is_kept() {
    let desk = Desk::new();
    let source = desk.data.source(&desk.tenant.id, "Shop");
    let href = desk.path(&format!("sources/{source}"));
    for (path, fields, field) in [
        (desk.path("sources"), vec![("name", " ")], "name"),
        (href.clone(), vec![("name", ""), ("origin", "")], "name"),
        (
            href.clone(),
            vec![
                ("name", "Shop"),
                ("origin", "https://ok.example\nshop.example/x"),
            ],
            "origin",
        ),
        (
            href.clone(),
            vec![("name", "Shop"), ("origin", "https://*.shop.example")],
            "origin",
        ),
        (
            format!("{href}/stripe"),
            vec![("stripe_secret", "sk_live_1")],
            "stripe_secret",
        ),
        (
            format!("{href}/stripe"),
            vec![("stripe_secret", "")],
            "stripe_secret",
        ),
    ] {
        let page = desk.ann.post(&path, &fields);
        assert_eq!(page.status, 422, "{fields:?}: {}", page.text());
        let fields_of_page = [page.tags("input"), page.tags("textarea")].concat();
        let invalid: Vec<_> = fields_of_page
            .iter()
            .filter(|tag| tag.contains("aria-invalid"))
            .collect();
        assert_eq!(invalid.len(), 1, "{fields:?}");
        assert!(
            invalid[0].contains(&format!("name=\"{field}\"")),
            "{invalid:?}"
        );
    }
    let page = desk.ann.post(
        &href,
        &[("name", "Shop"), ("origin", "https://ok.example\nnope")],
    );
    assert!(
        page.exact_text().contains("https://ok.example\nnope"),
        "the input is kept"
    );
    assert_eq!(
        desk.ann
            .post(&href, &[("name", "Shop"), ("workspace", "x")])
            .status,
        422
    );
    assert_eq!(desk.column("origins"), "[]");
    assert_eq!(desk.audit().len(), 1, "only its making");
}

#[test]
fn what_a_source_says_of_itself_is_text_on_every_page() {
    let desk = Desk::new();
    let made = desk.data.source(&desk.tenant.id, r#"<b>"Shop'</b>"#);
    for path in [
        "sources".to_owned(),
        format!("sources/{made}"),
        format!("sources/{made}/rotate"),
    ] {
        let page = desk.ann.see(&desk.path(&path));
        assert!(!page.html.contains("<b>"), "{path}");
        assert!(page.text().contains(r#"<b>"Shop'</b>"#), "{path}");
    }
}

#[test]
fn what_to_paste_names_the_readers_own_box_and_works() {
    let desk = Desk::new();
    let source = desk.data.source(&desk.tenant.id, "Shop");
    let page = desk.ann.see(&desk.path(&format!("sources/{source}")));
    let snippets = copied(&page);
    let has = |text: &str| snippets.iter().any(|snippet| snippet.contains(text));
    let url = &desk.server.url;
    for text in [
        // To the letter as the README has it: calls between this and the script's end are kept.
        format!(
            "<script>window.pillarbox = window.pillarbox || function () {{ (pillarbox.q = pillarbox.q || []).push(arguments) }}</script>\n\
             <script async src=\"{url}/pillarbox.js\" data-source=\"{source}\"></script>"
        ),
        format!("AnalyticsBrowser.load({{ writeKey: '{source}', cdnURL: '{url}' }})"),
        format!("{url}/api/v1/events"),
        format!("{url}/sse/webhook"),
        format!("{url}/v1/api/events/new"),
        format!("{url}/v1/api/events/client"),
        format!("host: '{url}'"),
        format!("analytics.host = '{url}'"),
        format!("/api/tracking/server-events?workspaceId={}", desk.tenant.id),
        format!("siteId: '{source}'"),
        format!("{url}/in/stripe/{source}"),
    ] {
        assert!(has(&text), "{text} in none of {snippets:#?}");
    }
    // The commands, run by a shell, with a key in its place.
    let mut stored = 0;
    for snippet in snippets
        .iter()
        .filter(|snippet| snippet.starts_with("curl") && !snippet.contains("/v1/api/events/new"))
    {
        let command = snippet.replace("YOUR_API_KEY", &desk.tenant.key);
        let output = std::process::Command::new("sh")
            .args(["-c", &command])
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(answer.contains("evt_"), "{command}\n{answer}\n{output:?}");
        stored += 1;
        assert_eq!(desk.data.rows("event"), stored);
    }
    assert_eq!(stored, 2);
}

#[test]
fn the_command_line_makes_and_lists_sources() {
    let data = Data::new();
    let tenant = data.tenant("Acme");
    let other = data.tenant("Other");
    data.source(&other.id, "Theirs");
    let plain = data.source(&tenant.id, "Plain");
    let arguments = [
        "source",
        "create",
        "Shop",
        "--workspace",
        &tenant.slug,
        "--origin",
        "https://Shop.example/",
        "--origin",
        "*",
        "--customers-are-accounts",
        "--json",
    ];
    let made = data.json(&arguments);
    let listed = data.json(&["source", "list", "--workspace", &tenant.id, "--json"]);
    assert_eq!(
        listed,
        json!({"sources": [
            {"id": made["id"], "name": "Shop", "origins": ["https://shop.example", "*"],
             "customers_are_accounts": true, "has_stripe_secret": false},
            {"id": plain, "name": "Plain", "origins": [], "customers_are_accounts": false,
             "has_stripe_secret": false},
        ]})
    );
    let output = data.run(&["source", "list", "--workspace", &tenant.id]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().nth(1).unwrap().ends_with("Plain"), "{lines}");
}
