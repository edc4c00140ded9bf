//! How long pages take until their first byte: lists and a profile at their first and their
//! thousandth page, on an idle box and under load.

use crate::boxes::{EMAIL, Folder, PASSWORD};
use crate::child::Served;
use crate::pace::Pace;
use crate::stage::{Stage, jimo_of_all};
use crate::traffic::user;
use pillarbox::id::{DeliveryId, EventId};
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use std::time::Instant;

/// Rows before the thousandth page, at 50 a page.
const BEFORE_PAGE_1000: u64 = 49_950;
/// Events a second while pages are measured under load.
const LOAD: f64 = 1_000.0;
/// The first requests fill caches, and are not counted.
const WARM_UP: usize = 5;

/// Somebody who is signed in.
struct Reader {
    http: Client,
    origin: String,
}

impl Reader {
    fn sign_in(served: &Served) -> anyhow::Result<Self> {
        let origin = format!("http://{}", served.authority());
        let http = Client::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .build()?;
        let answer = http
            .post(format!("{origin}/login"))
            .header("origin", &origin)
            .form(&[("email", EMAIL), ("password", PASSWORD)])
            .send()?;
        anyhow::ensure!(
            answer.status().is_redirection(),
            "signing in: {}",
            answer.status()
        );
        Ok(Self { http, origin })
    }

    /// The time to a page's first byte, milliseconds.
    fn time_ms(&self, path: &str) -> anyhow::Result<f64> {
        let began = Instant::now();
        let answer = self.http.get(format!("{}{path}", self.origin)).send()?;
        let time_ms = began.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.bytes()?;
        Ok(time_ms)
    }
}

/// Measures all pages of the first user's workspace.
///
/// # Errors
/// When the box does not answer.
pub(super) fn run(stage: &mut Stage, folder: &Folder) -> anyhow::Result<()> {
    let pages = pages(folder)?;
    let requests = jimo_of_all(&folder.tenant().key);
    let count = stage.scale.page_requests;
    let binary = stage.binary.clone();
    for (suffix, is_loaded) in [("idle", false), ("load", true)] {
        let all_times_ms = stage.machine.undisturbed(|| {
            let served = folder.serve(&binary)?;
            let reader = Reader::sign_in(&served)?;
            let load = is_loaded
                .then(|| Pace::begin(served.authority(), &requests, LOAD))
                .transpose()?;
            let times_ms = pages
                .iter()
                .map(|(_, path)| times_ms(&reader, path, count))
                .collect::<anyhow::Result<Vec<_>>>();
            load.map(Pace::end).transpose()?;
            times_ms
        })?;
        for ((name, _), times_ms) in pages.iter().zip(all_times_ms) {
            stage.add(
                &format!("{name}_{suffix}_p50_ms"),
                &[percentile(&times_ms, 50)],
                "",
            )?;
            stage.add(
                &format!("{name}_{suffix}_p95_ms"),
                &[percentile(&times_ms, 95)],
                "",
            )?;
        }
    }
    Ok(())
}

/// What a row is called, and the path of its page.
fn pages(folder: &Folder) -> anyhow::Result<Vec<(&'static str, String)>> {
    let look = folder.look()?;
    let tenant = folder.tenant();
    let base = format!("/w/{}", tenant.slug);
    let event = EventId::from_i64(look.nth_newest("event", tenant.id, BEFORE_PAGE_1000)?);
    let delivery =
        DeliveryId::from_i64(look.nth_newest("delivery", tenant.id, BEFORE_PAGE_1000)?);
    let profile = look.profile(&user(0))?;
    // A short run's history has no thousandth page; the last one there is must do.
    let length = look.timeline_length(profile)?;
    let before =
        look.nth_newest_of_profile(profile, BEFORE_PAGE_1000.min(length.saturating_sub(50)))?;
    Ok(vec![
        ("page_events_first", format!("{base}/events")),
        ("page_events_1000", format!("{base}/events?before={event}")),
        ("page_deliveries_first", format!("{base}/deliveries")),
        (
            "page_deliveries_1000",
            format!("{base}/deliveries?before={delivery}"),
        ),
        ("page_profile_first", format!("{base}/profiles/{profile}")),
        (
            "page_profile_1000",
            format!("{base}/profiles/{profile}?before={before}"),
        ),
    ])
}

fn times_ms(reader: &Reader, path: &str, count: usize) -> anyhow::Result<Vec<f64>> {
    for _ in 0..WARM_UP {
        reader.time_ms(path)?;
    }
    (0..count).map(|_| reader.time_ms(path)).collect()
}

fn percentile(times_ms: &[f64], percent: usize) -> f64 {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The time of each of these users' profile pages, read once each: nobody warmed them up.
///
/// # Errors
/// When the box does not answer.
pub(super) fn profiles(
    stage: &mut Stage,
    folder: &Folder,
    users: &[String],
) -> anyhow::Result<Vec<f64>> {
    let look = folder.look()?;
    let base = format!("/w/{}/profiles", folder.tenant().slug);
    let paths = users
        .iter()
        .map(|user| Ok(format!("{base}/{}", look.profile(user)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let binary = stage.binary.clone();
    stage.machine.undisturbed(|| {
        let served = folder.serve(&binary)?;
        let reader = Reader::sign_in(&served)?;
        paths.iter().map(|path| reader.time_ms(path)).collect()
    })
}
