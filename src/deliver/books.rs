//! What recording works with, of the dispatcher's tools.

use super::attempt::Tools;
use crate::id::IdGenerator;
use crate::store::catalog::CatalogHandle;
use crate::store::writer::Writer;
use std::sync::Arc;

/// Shared by all that write attempts down.
#[derive(Clone)]
pub(super) struct Books {
    pub(super) writer: Writer,
    pub(super) catalog: CatalogHandle,
    pub(super) ids: Arc<IdGenerator>,
    /// A webhook whose every attempt has failed for this long is disabled, milliseconds.
    pub(super) disable_after_ms: i64,
}

impl Books {
    /// The part of the dispatcher's tools that it takes.
    pub(super) fn of(tools: &Tools) -> Self {
        Self {
            writer: tools.writer.clone(),
            catalog: tools.catalog.clone(),
            ids: Arc::clone(&tools.ids),
            disable_after_ms: tools.limits.disable_after_ms,
        }
    }
}
