//! What every handler works with, taken from the app in one piece: reading off the async threads,
//! and changing through the one writer, with its audit actor and the catalog's refresh.

use super::answer::PageError;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::id::{IdGenerator, UserId};
use crate::manage::Actor;
use crate::secret::Vault;
use crate::store::Readers;
use crate::store::catalog::CatalogHandle;
use crate::store::writer::Writer;
use crate::time::now_ms;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use ipnet::IpNet;
use rusqlite::Connection;
use std::future::{Ready, ready};
use std::net::IpAddr;

/// The app's data and the request's time and place.
#[derive(Clone)]
pub(super) struct Desk {
    readers: web::Data<Readers>,
    writer: web::Data<Writer>,
    ids: web::Data<IdGenerator>,
    /// What the hot path knows; read for sources' names.
    pub(super) catalog: web::Data<CatalogHandle>,
    /// Seals secrets.
    pub(super) vault: web::Data<Vault>,
    /// How the box is reached, and what it allows.
    pub(super) settings: web::Data<Settings>,
    /// When the request came, Unix milliseconds.
    pub(super) now_ms: i64,
    /// Who asks: the peer, or whom a trusted proxy names.
    pub(super) address: Option<IpAddr>,
}

impl FromRequest for Desk {
    type Error = PageError;
    type Future = Ready<std::result::Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).map_err(PageError::from))
    }
}

impl Desk {
    /// The desk of a request.
    ///
    /// # Errors
    /// When the app was put together without one of the parts.
    pub(super) fn of(request: &HttpRequest) -> Result<Self> {
        let settings: web::Data<Settings> = data(request)?;
        let address = client_address(request, &settings.trusted_proxies);
        Ok(Self {
            readers: data(request)?,
            writer: data(request)?,
            ids: data(request)?,
            catalog: data(request)?,
            vault: data(request)?,
            settings,
            now_ms: now_ms(),
            address,
        })
    }

    /// Reads on a thread that may block. All that `work` reads is of one moment: what moves from one list
    /// to another meanwhile is not missed between the two.
    ///
    /// # Errors
    /// What `work` meets.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let readers = self.readers.clone();
        let read = move || {
            let reader = readers.get()?;
            let moment = reader.unchecked_transaction()?;
            work(&moment)
        };
        web::block(read).await.map_err(Error::internal)?
    }

    /// Changes something in the name of `user`.
    ///
    /// # Errors
    /// What `work` refuses, and what the writer meets.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        user: Option<UserId>,
        work: impl FnMut(&Connection, &Actor<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let catalog = self.catalog.clone();
        // What is done in nobody's name (sessions that begin and end) is told to no webhook, and happens often.
        let tell = move |_: &T| {
            if user.is_some() {
                catalog.tell();
            }
        };
        self.writer.change(self.signed(user, work), tell).await
    }

    /// As [`Desk::change`], for what the hot path must know at once: keys, sources and webhooks.
    ///
    /// # Errors
    /// As [`Desk::change`].
    pub(super) async fn change_catalog<T: Send + 'static>(
        &self,
        user: Option<UserId>,
        work: impl FnMut(&Connection, &Actor<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut work = self.signed(user, work);
        let (reloading, publishing) = (self.catalog.clone(), self.catalog.clone());
        let (value, _) = self
            .writer
            .change(
                move |connection| Ok((work(connection)?, reloading.reload(connection)?)),
                move |(_, catalog)| publishing.publish(std::sync::Arc::clone(catalog)),
            )
            .await?;
        Ok(value)
    }

    /// `work` as a job of the writer, in the name of `user`, at this request's time and place.
    fn signed<T>(
        &self,
        user: Option<UserId>,
        mut work: impl FnMut(&Connection, &Actor<'_>) -> Result<T> + Send + 'static,
    ) -> impl FnMut(&Connection) -> Result<T> + Send + 'static {
        let (ids, now_ms, catalog) = (self.ids.clone(), self.now_ms, self.catalog.clone());
        let address = self.address.map(|address| address.to_string());
        move |connection| {
            let catalog = catalog.current();
            let actor = Actor {
                user,
                address: address.as_deref(),
                now_ms,
                ids: &ids,
                catalog: &catalog,
            };
            work(connection, &actor)
        }
    }
}

/// One part of the app's data.
///
/// # Errors
/// When the app was put together without it.
pub(super) fn data<T: 'static>(request: &HttpRequest) -> Result<web::Data<T>> {
    request.app_data::<web::Data<T>>().cloned().ok_or_else(|| {
        Error::internal(anyhow::anyhow!(
            "the app holds no {}",
            std::any::type_name::<T>()
        ))
    })
}

/// The peer's address, unless the peer is a trusted proxy: then the last address in
/// `X-Forwarded-For`, the one that the proxy itself wrote. From anyone else the header is only a claim.
fn client_address(request: &HttpRequest, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    if !trusted.iter().any(|net| net.contains(&peer)) {
        return Some(peer);
    }
    let forwarded = request.headers().get_all("x-forwarded-for").last();
    let last =
        forwarded.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    Some(last.unwrap_or(peer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let request = |peer: &str| {
            TestRequest::default()
                .peer_addr(format!("{peer}:1").parse().unwrap())
                .insert_header(("x-forwarded-for", "203.0.113.66, 198.51.100.7"))
                .to_http_request()
        };
        let trusted: Vec<IpNet> = vec!["127.0.0.1/32".parse().unwrap()];
        let named = client_address(&request("127.0.0.1"), &trusted).unwrap();
        assert_eq!(named.to_string(), "198.51.100.7");
        let peer = client_address(&request("10.0.0.9"), &trusted).unwrap();
        assert_eq!(peer.to_string(), "10.0.0.9");
        assert!(
            client_address(&request("127.0.0.1"), &[])
                .unwrap()
                .is_loopback()
        );
    }
}
